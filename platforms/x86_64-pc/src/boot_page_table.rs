//! The boot page table, in which a hart runs until the kernel loads its own page table.
//!
//! It maps the first [`BOOT_MAPPED`] bytes of physical memory in pages of 2 MiB. The same
//! tables map them in the kernel half and, one to one, in the lower half, for the instructions
//! around the switch to 64 bits. Each hart's stack has virtual addresses of its own: 4 KiB
//! pages above a guard zone.

use axconfig::BOOT_MAPPED;
use axmachine::{BootTable, StackMemory};

/// The number of tables with 2 MiB pages.
pub const GIGABYTES: usize = BOOT_MAPPED >> 30;

/// Each table has the name of the unit that one of its entries maps.
#[repr(C, align(4096))]
pub struct BootPageTable {
    root: [u64; 512],
    pub gigabytes: [u64; 512],
    pub megabytes: [[u64; 512]; GIGABYTES],
}

/// The entry code fills it, and each hart loads it.
#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable {
    root: [0; 512],
    gigabytes: [0; 512],
    megabytes: [[0; 512]; GIGABYTES],
};

/// The two tables between the root and the harts' tables, and the table of the first hart's
/// stack.
#[unsafe(no_mangle)]
pub static mut STACK_TABLES: [BootTable; 3] = [BootTable::EMPTY; 3];

/// Present and writable: an entry of a table, or of a 4 KiB page. A page of the boot page
/// table has all rights.
pub const ENTRY: u64 = 0b11;
/// Present and writable: an entry of a 2 MiB page.
pub const LARGE: u64 = 1 << 7 | ENTRY;

/// Maps a hart's stack.
pub fn map_stack(memory: StackMemory) {
    let entry = |paddr: usize| paddr as u64 | ENTRY;
    // SAFETY: the second table of `STACK_TABLES` is one level above the harts' tables. Only
    // the first hart changes the boot page table, before it starts another hart.
    unsafe { memory.map(&raw mut STACK_TABLES[1], entry, entry) };
}
