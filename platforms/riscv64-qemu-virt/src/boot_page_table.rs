//! The boot page table, in which a hart runs until the kernel loads its own page table.
//!
//! It has 1 GiB pages (Sv39). The kernel half maps as much physical memory as it has space
//! for. The lower half maps, one to one, the gigabyte that the code runs in while paging is
//! switched on. Each hart's stack has virtual addresses of its own: 4 KiB pages above a guard
//! zone.

use core::arch::asm;

use axmachine::{BootTable, StackMemory};

/// The root. The entry code fills it.
#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootTable = BootTable::EMPTY;

/// The table of the gigabyte with the harts' stacks, and the table of the first hart's stack.
pub static mut STACK_TABLES: [BootTable; 2] = [BootTable::EMPTY; 2];

/// Valid, readable, writable, executable, accessed and dirty: a page of the boot page table
/// has all rights.
pub const PAGE: u64 = 0b1100_1111;
/// Valid, without rights: an entry that leads to a table.
pub const TABLE: u64 = 1;

/// Maps a hart's stack.
pub fn map_stack(memory: StackMemory) {
    // Entries have the page number from bit 10 on.
    let entry = |paddr: usize, bits| (paddr >> 2) as u64 | bits;
    // SAFETY: the first table of `STACK_TABLES` is one level above the harts' tables. Only
    // the first hart changes the boot page table, before it starts another hart. A flush is
    // always safe.
    unsafe {
        memory.map(
            (&raw mut STACK_TABLES).cast(),
            |paddr| entry(paddr, PAGE),
            |paddr| entry(paddr, TABLE),
        );
        asm!("sfence.vma", options(nostack));
    }
}

/// Maps, in the lower half, the physical gigabyte that contains `paddr` and the next one, for
/// reading what lies above the memory that the kernel half maps. Returns the virtual address of
/// `paddr`, behind which at least 1 GiB can be read until the next call.
///
/// # Safety
///
/// The boot page table must be loaded, and no other hart may use it.
pub unsafe fn map_window(paddr: usize) -> *const u8 {
    /// The first of two unused entries of the root. The one-to-one map uses the entry of the
    /// gigabyte with the image, number 2.
    const FIRST: usize = 4;
    let gigabyte = paddr >> 30;
    // SAFETY: the caller promises that no other hart uses the table, and this hart has no
    // reference to addresses of these entries. A flush is always safe.
    unsafe {
        for n in 0..2 {
            BOOT_PAGE_TABLE.0[FIRST + n] = ((gigabyte + n) << 28) as u64 | PAGE;
        }
        asm!("sfence.vma", options(nostack));
    }
    ((FIRST << 30) | (paddr & ((1 << 30) - 1))) as *const u8
}
