//! The lower half. A process has one, so it belongs to one address space at a time:
//!
//! ```text
//!   hart 0   claim X ─── inside ─── leave
//!   hart 1       claim X ─── inside ─── leave
//!   hart 2          claim Y ····· waits ····· inside
//! ```
//!
//! Inside, a hart's access reaches its own address space, or is a page fault. Harts in one
//! address space never wait for each other. A hart that wants to enter another one waits
//! until all have left. Meanwhile it holds nothing, not even the address space that it comes
//! from. So a hart inside must not wait for a hart that is in, or wants to enter, another
//! address space.
//!
//! When the last hart has left, the lower half has no translations. Until then a hart outside
//! can access what harts inside have touched, because the mappings are those of the process.
//! It cannot add translations, so any other access is a page fault.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU64, AtomicUsize};

use axplat::mem::PhysAddr;
use linux_host::{harts, ram};

use super::tlb::{TlbLock, flush_pages};

/// The root of the address space that owns the lower half, or has owned it last. Relaxed:
/// this and [`INSIDE`] are changed under [`TlbLock`].
static OWNER: AtomicUsize = AtomicUsize::new(0);

/// One bit for each hart that is inside.
static INSIDE: AtomicU64 = AtomicU64::new(0);

/// Returns the largest ASID. There are few, so that tests run out of them. They have no
/// effect, because the lower half's translations always belong to one address space.
pub fn max_asid() -> usize {
    3
}

/// Waits until the table at `root` translates the lower half, for this hart and all others
/// inside.
///
/// # Safety
///
/// See [`claim_user`](crate::paging::claim_user).
pub unsafe fn claim_user(root: PhysAddr) {
    while !claim(root.as_usize()) {
        // SAFETY: the call has no requirement.
        unsafe { libc::sched_yield() };
    }
}

fn claim(root: usize) -> bool {
    let lock = TlbLock::lock();
    if OWNER.load(Relaxed) != root {
        leave(&lock);
        if INSIDE.load(Relaxed) != 0 {
            return false;
        }
        OWNER.store(root, Relaxed);
    }
    INSIDE.fetch_or(this_bit(), Relaxed);
    true
}

/// Does nothing: a hart has entered what it has claimed.
///
/// # Safety
///
/// No requirement here. See [`enter_user`](crate::paging::enter_user).
pub unsafe fn enter_user(_root: PhysAddr, _asid: usize) {}

/// Leaves the lower half to the other harts inside, or to the next address space.
///
/// # Safety
///
/// See [`leave_user`](crate::paging::leave_user).
pub unsafe fn leave_user(_kernel: PhysAddr) {
    leave(&TlbLock::lock());
}

/// Takes this hart out of the address space. The last hart flushes the lower half.
fn leave(lock: &TlbLock) {
    let before = INSIDE.fetch_and(!this_bit(), Relaxed);
    if before == this_bit() {
        flush_pages(lock, ram::USER);
    }
}

/// Flushes the address space that owns the lower half, on all harts.
pub fn flush_asid(_asid: usize) {
    flush_pages(&TlbLock::lock(), ram::USER);
}

/// Returns the root of the address space that this hart is in, or `None` if it is in no address
/// space.
pub fn entered_root() -> Option<usize> {
    let is_inside = INSIDE.load(Relaxed) & this_bit() != 0;
    is_inside.then(|| OWNER.load(Relaxed))
}

/// Returns the bit of this hart. It does not access memory that the page table maps.
fn this_bit() -> u64 {
    1 << harts::this_hart()
}
