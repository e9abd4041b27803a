//! The page table's format, and the registers that hold its root.

pub use crate::arch::{ONE_ROOT, PagingMeta, Pte, page_mark, publish_entries};
use axplat::mem::PhysAddr;

/// Returns the physical address of the page table that translates the kernel half on this
/// hart.
pub fn kernel_root() -> PhysAddr {
    crate::arch::read_root()
}

/// Makes this hart translate the kernel half by the table at `root`, and flushes its TLB.
///
/// # Safety
///
/// The table maps everything the kernel uses, with the rights it needs, at the
/// addresses it is used at.
pub unsafe fn set_kernel_root(root: PhysAddr) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { crate::arch::write_root(root) };
    crate::arch::flush_tlb_all();
}

/// What a hart must flush when it enters an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// No flush: all that its TLB holds is right.
    Nothing,
    /// The translations that are marked with the address space's ASID.
    Asid,
    /// The translations of every ASID, because ASIDs have been given out anew.
    Everything,
}

/// Waits until this hart may [enter](enter_user) the address space with the root `root`. It
/// leaves the address space that it is in.
///
/// On a machine each hart has a lower half of its own, and the call returns at once. In a
/// process all harts share one lower half. There the call waits until every hart has left
/// the address space that owns the lower half. The caller must hold nothing that a hart
/// inside that address space may wait for.
///
/// # Safety
///
/// `root` is the root of a page table that exists until this hart has left it.
pub unsafe fn claim_user(root: PhysAddr) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { crate::arch::claim_user(root) };
}

/// Makes this hart translate the lower half by the table at `root`, and then flushes what
/// `flush` says. `asid` is the ASID of the address space, at most [`max_asid`].
///
/// # Safety
///
/// Where [one root](ONE_ROOT) translates both halves, the table maps all that the kernel
/// uses. The table exists until this hart enters another address space or leaves this one.
/// This hart's last [`claim_user`] was for `root`.
pub unsafe fn enter_user(root: PhysAddr, asid: usize, flush: Flush) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { crate::arch::enter_user(root, asid) };
    match flush {
        Flush::Nothing => {}
        Flush::Asid => crate::arch::flush_asid(asid),
        Flush::Everything => crate::arch::flush_all_asids(),
    }
}

/// Leaves this hart's lower half without translations. A machine without
/// [ASIDs](max_asid) also flushes those that it had.
///
/// # Safety
///
/// `kernel` is the root of the kernel's page table, and nothing in the lower half is in use
/// on this hart.
pub unsafe fn leave_user(kernel: PhysAddr) {
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { crate::arch::leave_user(kernel) };
}

/// Returns the largest ASID of this machine. 0 means that it has no ASIDs: to enter an
/// address space flushes the translations of the previous address space.
pub fn max_asid() -> usize {
    crate::arch::max_asid()
}

/// Returns the bytes of the largest page that this machine has: 1 GiB, or 2 MiB.
pub fn largest_page() -> usize {
    crate::arch::largest_page()
}
