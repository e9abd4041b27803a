//! The entry code: from QEMU to `axplat`'s entry, with the boot page table loaded and a
//! stack.
//!
//! QEMU starts the first hart at `_start` with translation off. `a1` has the physical address
//! of the command line, and `a2` that of the EFI system table. The other harts wait in QEMU's
//! boot ROM for an interrupt. They continue at the address in their mailbox 0. Mailbox 1
//! has the virtual address of the top of their stack minus `PHYS_VIRT_OFFSET`.

use core::arch::{asm, global_asm};

use axconfig::{PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};

use crate::boot_page_table::{self, CACHED, RAM, STACK_TABLES};
use crate::firmware;

/// `CRMD`: translation off, privilege level 0, interrupts off, and accesses to instructions
/// and data are coherent cached ("Current Mode Information"). With translation on, the page
/// table entry says the memory type.
const UNTRANSLATED: u64 = 0b1010_1000;

global_asm!(
    "
    .equ    CRMD, 0x0
    .equ    ASID, 0x18
    .equ    PGDL, 0x19
    .equ    PGDH, 0x1a
    .equ    STLBPS, 0x1e
    .equ    TLBRENTRY, 0x88
    .equ    TLBRERA, 0x8a
    .equ    TLBRPRMD, 0x8f
    .equ    DMW, 0x180
    .equ    MAILBOX_1, 0x1028

    .section .text.boot, \"ax\"
    .global _start
_start:
    bl      check_features
    rdtime.d $s0, $zero
    ori     $t0, $zero, {untranslated}
    csrwr   $t0, CRMD

    la.pcrel $t0, _sbss
    la.pcrel $t1, _ebss
0:  st.d    $zero, $t0, 0
    addi.d  $t0, $t0, 8
    bltu    $t0, $t1, 0b

    // Megabytes 0, 2, 4, ...: RAM, then devices.
    la.pcrel $t0, BOOT_PAGE_TABLE
    move    $s1, $t0
    ori     $t1, $zero, {ram}
    lu12i.w $t2, 0x200
    ori     $t3, $zero, 128
    bl      fill
    addi.d  $t1, $t1, -{cached}
    ori     $t3, $zero, 512 - 128
    bl      fill
    // Gigabytes 0, 1, 2, ...: the table of megabytes, devices, RAM.
    move    $s2, $t0
    st.d    $s1, $t0, 0
    st.d    $t1, $t0, 8
    addi.d  $t0, $t0, 16
    lu12i.w $t2, 0x40000
    add.d   $t1, $t1, $t2
    addi.d  $t1, $t1, {cached}
    ori     $t3, $zero, 512 - 2
    bl      fill
    // The lower half of the root is empty. The upper half begins with the gigabytes.
    // An offset is at most 2047, so t0 is advanced to reach the root's upper half.
    addi.d  $t0, $t0, 2040
    st.d    $s2, $t0, 2048 - 2040
    // The tables above the harts' stacks.
    la.pcrel $t1, {stack_tables}
    st.d    $t1, $t0, 8 * {stacks_512g} - 2040
    // The first of these tables leads to the second. It is reached from the second by a
    // negative offset.
    la.pcrel $t2, {stack_tables} + 4096
    st.d    $t2, $t2, 8 * {stacks_1g} - 4096

    move    $a0, $a1
    move    $a1, $a2
    move    $a2, $s0
    la.abs  $sp, _stack_top
    la.abs  $t0, {primary}
    b       enter_high_half

fill:
    // t0: address of the first entry, t1: its value, t2: increment, t3: number of entries
    st.d    $t1, $t0, 0
    add.d   $t1, $t1, $t2
    addi.d  $t0, $t0, 8
    addi.d  $t3, $t3, -1
    bnez    $t3, fill
    ret

    .global _start_secondary
_start_secondary:
    ori     $t0, $zero, {untranslated}
    csrwr   $t0, CRMD
    lu12i.w $t0, MAILBOX_1 >> 12
    ori     $t0, $t0, MAILBOX_1 & 0xfff
    iocsrrd.d $sp, $t0
    li.d    $t0, {offset}
    add.d   $sp, $sp, $t0
    la.abs  $t0, {secondary}

enter_high_half:
    // t0: virtual address of the code to continue with
    csrwr   $zero, DMW + 0
    csrwr   $zero, DMW + 1
    csrwr   $zero, DMW + 2
    csrwr   $zero, DMW + 3
    csrwr   $zero, ASID
    csrwr   $zero, PGDL
    la.pcrel $t1, BOOT_PAGE_TABLE + 2 * 4096
    csrwr   $t1, PGDH
    ori     $t1, $zero, 12
    csrwr   $t1, STLBPS
    la.pcrel $t1, trap_vector
    csrwr   $t1, TLBRENTRY
    invtlb  0, $zero, $zero
    // A return from a TLB refill switches translation on and jumps in one step. So this
    // returns from a refill that did not happen.
    csrwr   $zero, TLBRPRMD
    ori     $t0, $t0, 1
    csrwr   $t0, TLBRERA
    move    $fp, $zero
    move    $ra, $zero
    ertn
    ",
    untranslated = const UNTRANSLATED,
    ram = const RAM,
    cached = const CACHED,
    stack_tables = sym STACK_TABLES,
    stacks_512g = const BootTable::index_of_stacks(39),
    stacks_1g = const BootTable::index_of_stacks(30),
    offset = const PHYS_VIRT_OFFSET,
    primary = sym primary,
    secondary = sym secondary,
);

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(command_line: usize, system_table: usize, ticks: u64) -> ! {
    firmware::remember_boot(command_line, system_table, ticks);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script reserves `_stack` for the first hart, and the last table of
    // `STACK_TABLES` is for this stack only. The hart is on `_stack` already. It continues at
    // the top of the same memory, by other addresses, and may overwrite this function's frame,
    // which is no longer needed.
    unsafe {
        let table = phys((&raw const STACK_TABLES[2]).cast());
        boot_page_table::map_stack(StackMemory::new(0, phys(&raw const _stack), table));
        asm!(
            "move $sp, {top}",
            "jr {entry}",
            top = in(reg) hart_stack(0).end,
            entry = in(reg) on_own_stack as extern "C" fn() -> !,
            options(noreturn),
        )
    }
}

extern "C" fn on_own_stack() -> ! {
    axplat::call_main(0, 0)
}

extern "C" fn secondary() -> ! {
    #[cfg(feature = "smp")]
    crate::secondary::enter();
    // Only a hart that is not in the inventory gets here, or one in an image without `smp`.
    // The kernel starts neither.
    crate::power::park()
}
