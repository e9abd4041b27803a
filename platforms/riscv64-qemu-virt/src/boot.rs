//! The entry code: from the firmware to `axplat`'s entry, with the boot page table loaded and
//! a stack.
//!
//! The firmware starts the first hart at `_start` with paging off. `a0` has the hart id, and
//! `a1` the physical address of the device tree (RISC-V SBI Specification). The other harts
//! wait in the firmware until `sbi_hart_start`.

use core::arch::{asm, global_asm};

use axconfig::{PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};

use crate::boot_page_table::{self, STACK_TABLES};
use crate::features::FLOAT_ON;
use crate::firmware;

global_asm!(
    "
    .section .text.boot, \"ax\"
    .global _start
_start:
    // s0: hart id, s1: device tree, s2: ticks of the clock
    mv      s0, a0
    mv      s1, a1
    rdtime  s2
    call    check_features

    lla     t0, _sbss
    lla     t1, _ebss
0:  sd      zero, (t0)
    addi    t0, t0, 8
    bltu    t0, t1, 0b

    // The upper half of the root: physical gigabytes 0, 1, ...
    lla     t0, BOOT_PAGE_TABLE
    li      t2, 256 * 8
    add     t1, t0, t2
    add     t2, t2, t1
    li      t3, {boot_page}
    li      t4, 1 << 28
0:  sd      t3, (t1)
    add     t3, t3, t4
    addi    t1, t1, 8
    bltu    t1, t2, 0b
    // The entry of the harts' stacks leads to a table instead. t1 is the root's end.
    lla     t2, {stack_tables}
    srli    t2, t2, 2
    ori     t2, t2, {boot_table}
    sd      t2, 8 * ({stacks} - 512)(t1)
    // The gigabyte that this code runs in is mapped one to one, too.
    lla     t1, _start
    srli    t1, t1, 30
    slli    t2, t1, 3
    add     t2, t2, t0
    slli    t1, t1, 28
    ori     t1, t1, {boot_page}
    sd      t1, (t2)

    mv      a0, s0
    mv      a1, s1
    mv      a2, s2
    lla     sp, _stack_top
    lla     t0, {primary}
    j       enter_high_half

    .global _start_secondary
_start_secondary:
    // a0: hart id, a1: virtual address of the top of its stack minus PHYS_VIRT_OFFSET
    mv      sp, a1
    lla     t0, {secondary}

enter_high_half:
    // t0 and sp: the code to continue with and the stack, as virtual addresses minus
    // PHYS_VIRT_OFFSET
    // Firmware may leave the floating-point unit off.
    li      t1, {float}
    csrc    sstatus, t1
    li      t1, {float_on}
    csrs    sstatus, t1
    lla     t1, BOOT_PAGE_TABLE
    srli    t1, t1, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    // A write with an unsupported mode does not change the register.
    csrr    t2, satp
    bne     t1, t2, missing_sv39
    sfence.vma
    li      t1, {offset}
    add     sp, sp, t1
    add     t0, t0, t1
    li      s0, 0
    li      ra, 0
    jr      t0
    ",
    boot_page = const boot_page_table::PAGE,
    boot_table = const boot_page_table::TABLE,
    stack_tables = sym STACK_TABLES,
    stacks = const BootTable::index_of_stacks(30),
    float = const 3 << 13,
    float_on = const FLOAT_ON,
    offset = const PHYS_VIRT_OFFSET,
    primary = sym primary,
    secondary = sym secondary,
);

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(hart_id: usize, device_tree: usize, ticks: u64) -> ! {
    firmware::remember_boot(hart_id, device_tree, ticks);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script reserves `_stack` for the first hart, and the last table of
    // `STACK_TABLES` is for this stack only. The hart is on `_stack` already. It continues at
    // the top of the same memory, by other addresses, and may overwrite this function's frame,
    // which is no longer needed.
    unsafe {
        let table = phys((&raw const STACK_TABLES[1]).cast());
        boot_page_table::map_stack(StackMemory::new(0, phys(&raw const _stack), table));
        asm!(
            "mv sp, {top}",
            "jr {entry}",
            top = in(reg) hart_stack(0).end,
            entry = in(reg) on_own_stack as extern "C" fn(usize) -> !,
            in("a0") device_tree,
            options(noreturn),
        )
    }
}

extern "C" fn on_own_stack(device_tree: usize) -> ! {
    axplat::call_main(0, device_tree)
}

extern "C" fn secondary(hart_id: usize) -> ! {
    #[cfg(feature = "smp")]
    if let Some(cpu_id) = axmachine::cpu_of(hart_id) {
        axplat::call_secondary_main(cpu_id)
    }
    // Only a hart that is not in the inventory gets here, or one in an image without `smp`.
    // The kernel starts neither.
    let _ = hart_id;
    crate::power::park()
}
