//! The boot page table, in which a hart runs until the kernel loads its own page table.
//!
//! It maps the first `BOOT_MAPPED` bytes of physical memory in blocks of 1 GiB. The same
//! tables serve both halves: the kernel half's address of a byte differs from the physical
//! address only above the bits that index a table. Each hart's stack has virtual addresses of
//! its own: 4 KiB pages above a guard zone.
//!
//! The kernel's page table maps the same addresses with pages of other sizes. The entries of
//! the boot page table have an ASID of their own, so the TLB keeps the two apart ("TLB
//! maintenance requirements": break before make).

use aarch64_cpu::asm::barrier;
use axmachine::{BootTable, StackMemory};
use page_table_entry::aarch64::{DescriptorAttr as Attr, MemAttr};

/// The root, and the table of gigabytes that its first entry leads to.
#[repr(C, align(4096))]
pub struct BootPageTable([[u64; 512]; 2]);

/// The entry code fills it.
pub static mut BOOT_PAGE_TABLE: BootPageTable = BootPageTable([[0; 512]; 2]);

/// The two tables between the root and the harts' tables, and the table of the first hart's
/// stack.
pub static mut STACK_TABLES: [BootTable; 3] = [BootTable::EMPTY; 3];

/// An entry that leads to a table of the next level. On the lowest level these bits make a
/// page.
pub const TABLE: u64 = Attr::VALID.bits() | Attr::NON_BLOCK.bits();
/// A block of either kind, valid for one ASID.
const BLOCK: u64 = Attr::VALID.bits() | Attr::AF.bits() | Attr::NG.bits();
/// A block or page of RAM. A page of the boot page table has all rights.
pub const RAM: u64 = BLOCK | Attr::from_mem_attr(MemAttr::Normal).bits();
/// A block of devices. It is not executable, so that the CPU does not fetch instructions from
/// devices, not even speculatively.
pub const DEVICES: u64 =
    BLOCK | Attr::PXN.bits() | Attr::UXN.bits() | Attr::from_mem_attr(MemAttr::Device).bits();
/// The ASID of the entries, at its position in `TTBR1_EL1`. The kernel's ASID is 0.
pub const BOOT_ASID: u64 = 1 << 48;

/// Maps a hart's stack.
pub fn map_stack(memory: StackMemory) {
    let to_page = |paddr: usize| paddr as u64 | RAM | TABLE;
    let to_table = |paddr: usize| paddr as u64 | TABLE;
    // SAFETY: the second table of `STACK_TABLES` is one level above the harts' tables. Only
    // the first hart changes the boot page table, before it starts another hart.
    unsafe { memory.map(&raw mut STACK_TABLES[1], to_page, to_table) };
    // After these barriers the page walkers see the entries.
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
}
