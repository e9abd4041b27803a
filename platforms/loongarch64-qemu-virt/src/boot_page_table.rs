//! The boot page table, in which a hart runs until the kernel loads its own page table.
//!
//! ```text
//! root ── 256: gigabytes ─┬─ 0: megabytes ─┬─ 0 to 127     RAM, cached
//!                         │                └─ 128 to 511   devices, uncached
//!                         ├─ 1                             devices, uncached
//!                         └─ 2 to 511                      RAM, cached
//!      └─ 447: one table ── 511: one table ── a table for each hart: its stack
//! ```
//!
//! The first 512 GiB of physical memory are mapped in pages of 2 MiB and 1 GiB. Each hart's
//! stack has virtual addresses of its own: 4 KiB pages above a guard zone. There is no
//! one-to-one mapping, and no direct mapping window.
//!
//! The hardware does not walk this table. axhal's trap vector refills the TLB from it.

use axmachine::{BootTable, StackMemory};

/// The tables of the drawing, from the bottom up, as the entry code fills them.
#[repr(C, align(4096))]
pub struct BootPageTable {
    megabytes: [u64; 512],
    gigabytes: [u64; 512],
    root: [u64; 512],
}

#[unsafe(no_mangle)]
static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable {
    megabytes: [0; 512],
    gigabytes: [0; 512],
    root: [0; 512],
};

/// The two tables between the root and the harts' tables, and the table of the first hart's
/// stack.
pub static mut STACK_TABLES: [BootTable; 3] = [BootTable::EMPTY; 3];

/// A huge page of devices: valid, dirty, huge, present, writable, for privilege level 0, of
/// memory type "strongly-ordered uncached" ("Page Table Entry Formats"). A page of the boot
/// page table has all rights.
const DEVICE: u64 = 0b1_1100_0011;
/// A huge page of RAM. It differs from one of devices in its memory type, "coherent cached".
pub const RAM: u64 = DEVICE | CACHED;
/// The bit by which the two memory types differ.
pub const CACHED: u64 = 1 << 4;
/// The bit that makes an entry of an upper level a page.
const HUGE: u64 = 1 << 6;

/// Maps a hart's stack.
pub fn map_stack(memory: StackMemory) {
    let to_page = |paddr: usize| paddr as u64 | (RAM & !HUGE);
    // The entry of a table is its address, without further bits.
    let to_table = |paddr: usize| paddr as u64;
    // SAFETY: the second table of `STACK_TABLES` is one level above the harts' tables. Only
    // the first hart changes the boot page table, before it starts another hart.
    unsafe { memory.map(&raw mut STACK_TABLES[1], to_page, to_table) };
}
