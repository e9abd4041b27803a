//! The page table's format, and the root register.

pub use crate::arch::{ONE_ROOT, PagingMeta, Pte, page_mark, publish_entries};
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

/// What a hart may remember of an address space that it enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// All of it is right.
    Nothing,
    /// What it has under the address space's id is not.
    Asid,
    /// What it has under any id may be another's.
    Everything,
}

/// Waits until this hart may [enter](enter_user) the address space with the root
/// `root`, and leaves the one that it is in. Nobody waits where each hart has a lower
/// half to itself, as a machine's have. Where all share one, who waits does so until
/// every hart has left the address space that has it; a hart that is in that one can
/// be waiting for what this one holds.
///
/// # Safety
///
/// `root` is that of a page table that stays until this hart has left it.
pub unsafe fn claim_user(root: PhysAddr) {
    // SAFETY: the caller's promise is this function's requirement.
    unsafe { crate::arch::claim_user(root) };
}

/// Translates the lower half by the table at `root` from now on, on this hart. The
/// address space has the id `asid`, up to [`max_asid`]; what this hart knows under
/// it is forgotten first if it has to be.
///
/// # Safety
///
/// Where [one root](ONE_ROOT) translates both halves, the table maps all that the
/// kernel uses. The table stays until another is entered, or none. It is the one that
/// was [claimed](claim_user) last.
pub unsafe fn enter_user(root: PhysAddr, asid: usize, forget: Forget) {
    // SAFETY: the caller's promise.
    unsafe { crate::arch::enter_user(root, asid) };
    match forget {
        Forget::Nothing => {}
        Forget::Asid => crate::arch::flush_asid(asid),
        Forget::Everything => crate::arch::flush_all_asids(),
    }
}

/// Leaves the lower half without translations, on this hart. Where there are no
/// [ids](max_asid) this hart also forgets those that it had.
///
/// # Safety
///
/// `kernel` is the kernel's root, and nothing in the lower half is in use.
pub unsafe fn leave_user(kernel: PhysAddr) {
    // SAFETY: the caller's promise.
    unsafe { crate::arch::leave_user(kernel) };
}

/// The largest id that an address space can have on this machine. 0 means that
/// there are none, and that entering one forgets the one before.
pub fn max_asid() -> usize {
    crate::arch::max_asid()
}

/// The bytes of the largest page this machine has: 1 GiB, or 2 MiB.
pub fn largest_page() -> usize {
    crate::arch::largest_page()
}
