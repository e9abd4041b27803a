//! The page table of the kernel half: `PGDH`, and `invtlb`.
#![cfg(feature = "paging")]

use core::arch::asm;
use core::ops::Range;

use axplat::mem::PhysAddr;

use super::csr::{self, PGDH};

/// The page table's format: four levels.
pub type PagingMeta = page_table_multiarch::loongarch64::LA64MetaData;
/// Its entries.
pub type Pte = page_table_entry::loongarch64::LA64PTE;

/// Whether one root page table translates both halves of the addresses.
pub const ONE_ROOT: bool = false;

/// The bytes of the largest page: 1 GiB.
pub const fn largest_page() -> usize {
    1 << 30
}

/// Makes entries written before be seen by every hart's refill after.
pub fn publish_entries() {
    // SAFETY: a barrier changes nothing.
    unsafe { asm!("dbar 0", options(nostack)) };
}

/// The root page table of the kernel half.
pub fn read_root() -> PhysAddr {
    PhysAddr::from_usize(csr::read::<PGDH>())
}

/// Changes the root page table of the kernel half.
///
/// # Safety
///
/// As [`set_kernel_root`](crate::paging::set_kernel_root).
pub unsafe fn write_root(root: PhysAddr) {
    publish_entries();
    // SAFETY: the caller's promise.
    unsafe { csr::write::<PGDH>(root.as_usize()) };
}

/// Forgets one page's translation on this hart, whatever its size.
pub fn flush_tlb_page(vaddr: usize) {
    // SAFETY: forgetting translations is always right. Operation 6 forgets what is
    // global, or of the address space given, which is 0 ("INVTLB").
    unsafe { asm!("dbar 0", "invtlb 6, $zero, {}", in(reg) vaddr, options(nostack)) };
}

/// Forgets all translations on this hart.
pub fn flush_tlb_all() {
    // SAFETY: forgetting translations is always right.
    unsafe { asm!("dbar 0", "invtlb 0, $zero, $zero", options(nostack)) };
}

/// No hart can make another forget: it must be interrupted.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    false
}
