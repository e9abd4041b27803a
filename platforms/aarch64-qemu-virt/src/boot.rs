//! From the boot loader to `axplat`'s entry: exception level 1, a boot page
//! table, a stack, Rust.
//!
//! The boot loader starts the first hart at the image's first byte with the MMU
//! off, interrupts masked, and the device tree's physical address in `x0`
//! (Linux, "Booting AArch64 Linux"). The other harts wait in the firmware until
//! PSCI's `CPU_ON`, which starts them with what they were promised in `x0`.
//!
//! The boot page table has 1 GiB blocks: `BOOT_MAPPED` bytes of physical memory.
//! It is both halves' at once, since an address of the kernel half differs from
//! the physical one only above the bits that a table is indexed by. Harts' stacks
//! have pages of 4 KiB at addresses of their own, with nothing below them. It is left
//! behind when the kernel loads its own, and waits unchanged for other harts.
//! Its entries are tagged with an ASID of their own, and the TLB keeps them apart
//! from the kernel's, which map the same addresses by pages of other sizes
//! ("TLB maintenance requirements": break before make).

use core::arch::{asm, global_asm};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{SCTLR_EL1, TCR_EL1};
use axconfig::{BOOT_MAPPED, PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};
use page_table_entry::aarch64::{DescriptorAttr as Attr, MemAttr};

/// The root, and the table of gigabytes that its first entry leads to.
#[repr(C, align(4096))]
struct BootPageTable([[u64; 512]; 2]);

static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable([[0; 512]; 2]);

/// The two tables between the root and those of harts' stacks, and the first hart's own.
static mut STACK_TABLES: [BootTable; 3] = [BootTable::EMPTY; 3];

/// Leads to a table of the next level.
const TABLE: u64 = Attr::VALID.bits() | Attr::NON_BLOCK.bits();
/// A gigabyte of either kind, valid for one ASID.
const BLOCK: u64 = Attr::VALID.bits() | Attr::AF.bits() | Attr::NG.bits();
/// A gigabyte of RAM has every right, for as long as there is no other table.
const RAM: u64 = BLOCK | Attr::from_mem_attr(MemAttr::Normal).bits();
/// A gigabyte of devices: nothing is ever fetched from there, on speculation
/// either.
const DEVICES: u64 =
    BLOCK | Attr::PXN.bits() | Attr::UXN.bits() | Attr::from_mem_attr(MemAttr::Device).bits();
const GIB: u64 = 1 << 30;
/// The ASID of these entries, in its place in `TTBR1_EL1`. The kernel's is 0.
const BOOT_ASID: u64 = 1 << 48;

/// The image lies at this offset from the start of RAM, which is 2 MiB aligned.
const TEXT_OFFSET: u64 = 0x20_0000;
/// Pages of 4 KiB, little endian, near the start of RAM.
const IMAGE_FLAGS: u64 = 1 << 1;

/// Two halves of 48 bits, pages of 4 KiB, the ASID that `TTBR1_EL1` names; tables
/// are read through the caches, coherently with other harts. The width of
/// physical addresses is added at boot.
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
/// The widest physical address that 4 KiB pages of 48-bit tables can hold, as in
/// `TCR_EL1.IPS`: 48 bits.
const WIDEST_PHYS: u64 = 0b101;

/// MMU, caches, and a check that the stack pointer is aligned.
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
    // The header by which boot loaders know an arm64 image.
    b       first_hart
    .long   0
    .quad   {text_offset}, _image_size, {image_flags}, 0, 0, 0
    .ascii  \"ARM\\x64\"
    .long   0

first_hart:
    bl      check_features
    bl      leave_el2
    mrs     x1, cntvct_el0

    adrp    x9, _sbss
    adrp    x10, _ebss
0:  stp     xzr, xzr, [x9], #16
    cmp     x9, x10
    b.lo    0b

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
    // Harts' stacks.
    adrp    x10, {stack_tables}
    add     x11, x10, #{table}
    str     x11, [x9, #8 * {stacks_512g}]
    add     x11, x11, #4096
    str     x11, [x10, #8 * {stacks_1g}]

    // All of that went past the caches: what they hold of it is outdated.
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
    // x0: physical address of the top of its stack
    bl      leave_el2
    mov     sp, x0
    adrp    x10, {secondary}
    add     x10, x10, :lo12:{secondary}

enter_high_half:
    // x10: where to go, as a physical address; sp likewise
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
    // Instructions may have been cached before the image was there.
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
    table = const TABLE,
    stack_tables = sym STACK_TABLES,
    stacks_512g = const BootTable::index_of_stacks(39),
    stacks_1g = const BootTable::index_of_stacks(30),
    devices = const DEVICES,
    ram = const RAM,
    gib = const GIB,
    boot_mapped = const BOOT_MAPPED,
    boot_asid = const BOOT_ASID,
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
    crate::machine::remember_boot(device_tree, ticks);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script has set the stack aside for the first hart, and the
    // table is only this stack's. Nothing on the stack in use is needed any more when
    // the hart goes on at the top of the same memory.
    unsafe {
        let table = phys((&raw const STACK_TABLES[2]).cast());
        map_stack(StackMemory::new(0, phys(&raw const _stack), table));
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

/// Maps a hart's stack in the boot page table. On the lowest level a page has the bit of
/// a table.
pub fn map_stack(memory: StackMemory) {
    let to_page = |paddr: usize| paddr as u64 | RAM | TABLE;
    let to_table = |paddr: usize| paddr as u64 | TABLE;
    // SAFETY: only the first hart changes the boot page table, before it starts another.
    unsafe { memory.map(&raw mut STACK_TABLES[1], to_page, to_table) };
    // Walkers see the entries from here on.
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
}

extern "C" fn secondary() -> ! {
    #[cfg(feature = "smp")]
    if let Some(cpu_id) = axmachine::cpu_of(crate::machine::this_hart()) {
        axplat::call_secondary_main(cpu_id)
    }
    // Without `smp` nobody starts another hart, and none that is not listed.
    crate::power::park()
}
