//! From the firmware to `axplat`'s entry: a boot page table, a stack, Rust.
//!
//! The firmware starts the first hart at `_start` with paging off, the hart id
//! in `a0` and the device tree's physical address in `a1` (RISC-V SBI
//! Specification; the rest of the harts wait in the firmware until
//! `sbi_hart_start`).
//!
//! The boot page table has 1 GiB pages (Sv39): all physical memory the kernel
//! half has room for, and, one to one, the gigabyte the code runs in while
//! paging is switched on. Harts' stacks have pages of 4 KiB at addresses of their
//! own, with nothing below them. It is left behind when the kernel loads its own.

use core::arch::{asm, global_asm};

use axconfig::{PHYS_VIRT_OFFSET, hart_stack};
use axmachine::{BootTable, StackMemory};

#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootTable = BootTable::EMPTY;

/// The table of the gigabyte that harts' stacks lie in, and the first hart's own.
static mut STACK_TABLES: [BootTable; 2] = [BootTable::EMPTY; 2];

/// Valid, readable, writable, executable, accessed and dirty: a boot page has
/// every right, for as long as there is no other page table.
const BOOT_PAGE: u64 = 0b1100_1111;
/// Valid, without a right: leads to a table.
const BOOT_TABLE: u64 = 1;

global_asm!(
    "
    .section .text.boot, \"ax\"
    .global _start
_start:
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
    // One of them is for harts' stacks.
    lla     t2, {stack_tables}
    srli    t2, t2, 2
    ori     t2, t2, {boot_table}
    sd      t2, 8 * ({stacks} - 512)(t1)
    // One to one: the gigabyte this code runs in.
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
    // a0: hart id, a1: physical address of the top of its stack
    mv      sp, a1
    lla     t0, {secondary}

enter_high_half:
    // t0: where to go, as a physical address; sp likewise
    lla     t1, BOOT_PAGE_TABLE
    srli    t1, t1, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    // A mode that the hart does not have leaves the register as it was.
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
    boot_page = const BOOT_PAGE,
    boot_table = const BOOT_TABLE,
    stack_tables = sym STACK_TABLES,
    stacks = const BootTable::index_of_stacks(30),
    offset = const PHYS_VIRT_OFFSET,
    primary = sym primary,
    secondary = sym secondary,
);

/// Maps the GiB from physical address `paddr` on in the lower half, for reading what
/// the kernel half has no room for, and returns where `paddr` is in it.
///
/// # Safety
///
/// The boot page table is in use, and by no other hart. The address is good until the
/// next call.
pub unsafe fn window(paddr: usize) -> *const u8 {
    /// Entries of the root that nothing else uses: the one-to-one map has the gigabyte
    /// that the image is in, which is the third.
    const FIRST: usize = 4;
    let gigabyte = paddr >> 30;
    // SAFETY: the caller's promise; what the entries map is not accessed otherwise.
    // Forgetting translations breaks nothing.
    unsafe {
        for n in 0..2 {
            BOOT_PAGE_TABLE.0[FIRST + n] = ((gigabyte + n) << 28) as u64 | BOOT_PAGE;
        }
        asm!("sfence.vma", options(nostack));
    }
    ((FIRST << 30) | (paddr & ((1 << 30) - 1))) as *const u8
}

unsafe extern "C" {
    static _stack: u8;
}

extern "C" fn primary(hart_id: usize, device_tree: usize, ticks: u64) -> ! {
    crate::machine::remember_boot(hart_id, device_tree, ticks);
    let phys = |symbol: *const u8| symbol.addr() - PHYS_VIRT_OFFSET;
    // SAFETY: the linker script has set the stack aside for the first hart, and the
    // table is only this stack's. Nothing on the stack in use is needed any more when
    // the hart goes on at the top of the same memory.
    unsafe {
        let table = phys((&raw const STACK_TABLES[1]).cast());
        map_stack(StackMemory::new(0, phys(&raw const _stack), table));
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

/// Maps a hart's stack in the boot page table, whose entries have page numbers from bit
/// 10 on.
pub fn map_stack(memory: StackMemory) {
    let entry = |paddr: usize, bits| (paddr >> 2) as u64 | bits;
    // SAFETY: only the first hart changes the boot page table, before it starts another.
    // Forgetting translations breaks nothing.
    unsafe {
        memory.map(
            (&raw mut STACK_TABLES).cast(),
            |paddr| entry(paddr, BOOT_PAGE),
            |paddr| entry(paddr, BOOT_TABLE),
        );
        asm!("sfence.vma", options(nostack));
    }
}

extern "C" fn secondary(hart_id: usize) -> ! {
    #[cfg(feature = "smp")]
    if let Some(cpu_id) = axmachine::cpu_of(hart_id) {
        axplat::call_secondary_main(cpu_id)
    }
    // Without `smp` nobody starts another hart, and none that is not listed.
    let _ = hart_id;
    crate::power::park()
}
