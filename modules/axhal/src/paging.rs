//! The page table's format, and the root register.

pub use crate::arch::{ONE_ROOT, PagingMeta, Pte, publish_entries};
use axplat::mem::PhysAddr;

/// The physical address of the page table that translates the kernel half on
/// this hart.
pub fn kernel_root() -> PhysAddr {
    crate::arch::read_root()
}

/// Translates the kernel half by the table at `root` from now on, on this hart,
/// and forgets all that was known of the one before.
///
/// # Safety
///
/// The table maps everything the kernel uses, with the rights it needs, at the
/// addresses it is used at.
pub unsafe fn set_kernel_root(root: PhysAddr) {
    // SAFETY: the caller's promise is this function's requirement.
    unsafe { crate::arch::write_root(root) };
    crate::arch::flush_tlb_all();
}

/// The bytes of the largest page this machine has: 1 GiB, or 2 MiB.
pub fn largest_page() -> usize {
    crate::arch::largest_page()
}
