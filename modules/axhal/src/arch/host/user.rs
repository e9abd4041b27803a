//! The lower half. A process has one, so that it is one address space's at a time:
//!
//! ```text
//!   hart 0   claim X ─── inside ─── leave
//!   hart 1       claim X ─── inside ─── leave
//!   hart 2          claim Y ····· waits ····· inside
//! ```
//!
//! What a hart touches inside is its own address space's, or a page fault. Harts in
//! one address space never wait for each other; who wants into another waits until
//! all have left, and holds nothing meanwhile, not even the address space that it
//! comes from. So whoever is inside must not wait for a hart that is, or wants, in
//! another.
//!
//! When the last has left nothing is there. Until then a hart that is in none sees
//! what others have touched inside, but can make nothing be there itself: its own
//! wild pointer is a page fault or reads what is theirs.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU64, AtomicUsize};

use axplat::mem::PhysAddr;
use linux_host::{harts, ram};

use super::paging::{Turn, forget_all};

/// The root of the address space that has the lower half, or had it last. This and
/// [`INSIDE`] are changed within a [`Turn`].
static OWNER: AtomicUsize = AtomicUsize::new(0);

/// One bit for each hart that is inside.
static INSIDE: AtomicU64 = AtomicU64::new(0);

/// The largest id that an address space can have: few, so that they run out. No id
/// is heeded: what is known is only ever one address space's.
pub fn max_asid() -> usize {
    3
}

/// Waits until the lower half is translated by the table at `root`, for this hart
/// and all others inside.
///
/// # Safety
///
/// As [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(root: PhysAddr) {
    while !claim(root.as_usize()) {
        // SAFETY: it has no requirement.
        unsafe { libc::sched_yield() };
    }
}

fn claim(root: usize) -> bool {
    let _turn = Turn::take();
    if OWNER.load(Relaxed) != root {
        leave();
        if INSIDE.load(Relaxed) != 0 {
            return false;
        }
        OWNER.store(root, Relaxed);
    }
    INSIDE.fetch_or(this_bit(), Relaxed);
    true
}

/// Nothing is left to do: what is claimed is entered.
///
/// # Safety
///
/// As [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(_root: PhysAddr, _asid: usize) {}

/// Leaves the lower half to whoever else is inside, or to the next.
///
/// # Safety
///
/// As [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(_kernel: PhysAddr) {
    let _turn = Turn::take();
    leave();
}

/// Within a [`Turn`].
fn leave() {
    let before = INSIDE.fetch_and(!this_bit(), Relaxed);
    if before == this_bit() {
        forget();
    }
}

/// Forgets the address space that has the lower half, on all harts.
pub fn flush_asid(_asid: usize) {
    let _turn = Turn::take();
    forget();
}

fn forget() {
    if !ram::unmap(ram::USER) {
        forget_all();
    }
}

/// The root of the address space that this hart is in.
pub fn entered_root() -> Option<usize> {
    let is_inside = INSIDE.load(Relaxed) & this_bit() != 0;
    is_inside.then(|| OWNER.load(Relaxed))
}

/// Known without touching anything that the kernel maps.
fn this_bit() -> u64 {
    1 << harts::this_hart()
}
