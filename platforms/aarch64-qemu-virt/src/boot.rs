//! The entry code: from the boot loader to `axplat`'s entry, at exception level 1, with the
//! boot page table loaded and a stack.
//!
//! The boot loader starts the first hart at the image's first byte with the MMU off and
//! interrupts masked. `x0` has the physical address of the device tree (Linux, "Booting
//! AArch64 Linux"). The other harts wait in the firmware until PSCI's `CPU_ON`, whose caller
//! chooses the value of `x0`.

use core::arch::{asm, global_asm};

use aarch64_cpu::registers::{SCTLR_EL1, TCR_EL1};
use axconfig::{BOOT_MAPPED, PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};
use page_table_entry::aarch64::MemAttr;

use crate::boot_page_table::{self, BOOT_PAGE_TABLE, STACK_TABLES};
use crate::firmware;

const GIB: u64 = 1 << 30;

/// The offset of the image from the start of RAM, which is aligned to 2 MiB.
const TEXT_OFFSET: u64 = 0x20_0000;
/// Flags of the image: pages of 4 KiB, little endian, loaded near the start of RAM.
const IMAGE_FLAGS: u64 = 1 << 1;

/// `TCR_EL1`: two halves of 48 bits, pages of 4 KiB, and the ASID of `TTBR1_EL1`. Page walks
/// use the caches and are coherent with other harts. The entry code adds the width of physical
/// addresses.
const TCR: u64 = TCR_EL1::T0SZ.val(16).value
    | TCR_EL1::T1SZ.val(16).value
    | TCR_EL1::A1::TTBR1.value
    | TCR_EL1::TG0::KiB_4.value
    | TCR_EL1::TG1::KiB_4.value
    | TCR_EL1::SH0::Inner.value
    | TCR_EL1::SH1::Inner.value
    | TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::ORGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value
    | TCR_EL1::IRGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable.value;
/// The largest value of `TCR_EL1.IPS` for pages of 4 KiB: physical addresses of 48 bits.
const WIDEST_PHYS: u64 = 0b101;

/// `SCTLR_EL1`: MMU and caches are on, and the alignment of the stack pointer is checked.
const SCTLR: u64 = crate::el2::SCTLR_MMU_OFF
    | SCTLR_EL1::M::Enable.value
    | SCTLR_EL1::C::Cacheable.value
    | SCTLR_EL1::I::Cacheable.value
    | SCTLR_EL1::SA::Enable.value;

global_asm!(
    "
    .section .text.boot, \"ax\"
    .global _start
_start:
    // The header of an arm64 image, which boot loaders read.
    b       first_hart
    .long   0
    .quad   {text_offset}, _image_size, {image_flags}, 0, 0, 0
    .ascii  \"ARM\\x64\"
    .long   0

first_hart:
    // x0, the device tree, and x1, the clock's ticks, stay as they are up to `primary`.
    bl      check_features
    bl      leave_el2
    mrs     x1, cntvct_el0

    adrp    x9, _sbss
    adrp    x10, _ebss
0:  stp     xzr, xzr, [x9], #16
    cmp     x9, x10
    b.lo    0b

    // The root's first entry leads to the table of gigabytes: one of devices, then RAM.
    adrp    x9, {boot_page_table}
    add     x10, x9, #4096
    add     x11, x10, #{table}
    str     x11, [x9]
    ldr     x11, ={devices}
    str     x11, [x10], #8
    ldr     x11, ={ram} + {gib}
    ldr     x12, ={ram} + {boot_mapped}
    mov     x13, #{gib}
0:  str     x11, [x10], #8
    add     x11, x11, x13
    cmp     x11, x12
    b.lo    0b
    // The tables above the harts' stacks.
    adrp    x10, {stack_tables}
    add     x11, x10, #{table}
    str     x11, [x9, #8 * {stacks_512g}]
    add     x11, x11, #4096
    str     x11, [x10, #8 * {stacks_1g}]

    // With the MMU off these writes bypass the caches, which may have older contents of the
    // same memory.
    dmb     sy
    adrp    x9, _sbss
    adrp    x10, _ebss
0:  dc      ivac, x9
    add     x9, x9, #16
    cmp     x9, x10
    b.lo    0b

    adrp    x9, _stack_top
    mov     sp, x9
    adrp    x10, {primary}
    add     x10, x10, :lo12:{primary}
    b       enter_high_half

    .global _start_secondary
_start_secondary:
    // x0: virtual address of the top of its stack minus PHYS_VIRT_OFFSET
    bl      leave_el2
    mov     sp, x0
    adrp    x10, {secondary}
    add     x10, x10, :lo12:{secondary}

enter_high_half:
    // x10 and sp: the code to continue with and the stack, as virtual addresses minus
    // PHYS_VIRT_OFFSET
    adrp    x9, {boot_page_table}
    msr     ttbr0_el1, x9
    orr     x9, x9, #{boot_asid}
    msr     ttbr1_el1, x9
    ldr     x9, ={mair}
    msr     mair_el1, x9
    mrs     x9, id_aa64mmfr0_el1
    and     x9, x9, #0xf
    mov     x11, #{widest_phys}
    cmp     x9, x11
    csel    x11, x9, x11, lo
    ldr     x9, ={tcr}
    bfi     x9, x11, #32, #3
    msr     tcr_el1, x9
    tlbi    vmalle1
    dsb     nsh
    isb
    ldr     x9, ={sctlr}
    msr     sctlr_el1, x9
    isb
    // The instruction cache may have older contents of the image's memory.
    ic      iallu
    dsb     nsh
    isb
    ldr     x9, ={offset}
    add     sp, sp, x9
    add     x10, x10, x9
    mov     x29, #0
    mov     x30, #0
    br      x10

    .ltorg
    ",
    text_offset = const TEXT_OFFSET,
    image_flags = const IMAGE_FLAGS,
    boot_page_table = sym BOOT_PAGE_TABLE,
    table = const boot_page_table::TABLE,
    stack_tables = sym STACK_TABLES,
    stacks_512g = const BootTable::index_of_stacks(39),
    stacks_1g = const BootTable::index_of_stacks(30),
    devices = const boot_page_table::DEVICES,
    ram = const boot_page_table::RAM,
    gib = const GIB,
    boot_mapped = const BOOT_MAPPED,
    boot_asid = const boot_page_table::BOOT_ASID,
    mair = const MemAttr::MAIR_VALUE,
    widest_phys = const WIDEST_PHYS,
    tcr = const TCR,
    sctlr = const SCTLR,
    offset = const PHYS_VIRT_OFFSET,
    primary = sym primary,
    secondary = sym secondary,
);

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(device_tree: usize, ticks: u64) -> ! {
    firmware::remember_boot(device_tree, ticks);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script reserves `_stack` for the first hart, and the last table of
    // `STACK_TABLES` is for this stack only. The hart is on `_stack` already. It continues at
    // the top of the same memory, by other addresses, and may overwrite this function's frame,
    // which is no longer needed.
    unsafe {
        let table = phys((&raw const STACK_TABLES[2]).cast());
        boot_page_table::map_stack(StackMemory::new(0, phys(&raw const _stack), table));
        asm!(
            "mov sp, {top}",
            "br {entry}",
            top = in(reg) hart_stack(0).end,
            entry = in(reg) on_own_stack as extern "C" fn(usize) -> !,
            in("x0") device_tree,
            options(noreturn),
        )
    }
}

extern "C" fn on_own_stack(device_tree: usize) -> ! {
    axplat::call_main(0, device_tree)
}

extern "C" fn secondary() -> ! {
    #[cfg(feature = "smp")]
    if let Some(cpu_id) = axmachine::cpu_of(firmware::this_hart_id()) {
        axplat::call_secondary_main(cpu_id)
    }
    // Only a hart that is not in the inventory gets here, or one in an image without `smp`.
    // The kernel starts neither.
    crate::power::park()
}
