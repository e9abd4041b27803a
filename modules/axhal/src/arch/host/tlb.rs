//! The process's mappings of physical memory, which play the TLB of all harts.
//!
//! What is not flushed stays, as in hardware. A stale pointer then reads a frame that may
//! belong to another owner by now.
//!
//! Before a root is loaded, the linear mapping is as the platform has made it.
//!
//! Locks: [`TlbLock`], a leaf.

use core::ops::Range;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use axconfig::PAGE_SIZE;
use linux_host::{harts, ram};

/// The most translations that are kept. Each splits a mapping of Linux, which by default
/// allows 65,530 mappings in a process, including those of other code.
const MAX_KEPT: usize = 16_384;

/// The number of translations added since the last flush of everything. Relaxed: it is
/// changed under [`TlbLock`].
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Returns whether page tables translate `addr`. All other addresses belong to the process
/// itself.
pub fn is_translated(addr: usize) -> bool {
    ram::translated_ranges()
        .iter()
        .any(|range| range.contains(&addr))
}

/// Adds the translation of a page of `size` bytes, from the virtual address `start` to the
/// physical address `paddr`. Returns `false` if Linux has no memory for one more mapping.
pub fn add(lock: &TlbLock, start: usize, paddr: usize, size: usize, rights: i32) -> bool {
    if KEPT.fetch_add(1, Relaxed) >= MAX_KEPT {
        flush_all(lock);
    }
    ram::map(start, paddr, size, rights)
}

/// Flushes all translations. That leaves fewer mappings than there were, for which Linux
/// always has the memory.
fn flush_all(_lock: &TlbLock) {
    KEPT.store(0, Relaxed);
    for range in ram::translated_ranges() {
        let flushed = ram::unmap(range);
        debug_assert!(flushed);
    }
}

/// Flushes the translations of `pages`, or all if Linux has no memory to unmap a part.
pub fn flush_pages(lock: &TlbLock, pages: Range<usize>) {
    if !ram::unmap(pages) {
        flush_all(lock);
    }
}

/// Flushes one page's translation, on all harts.
pub fn flush_tlb_page(vaddr: usize) {
    if is_translated(vaddr) {
        flush_pages(&TlbLock::lock(), vaddr..vaddr + PAGE_SIZE);
    }
}

/// Flushes all translations, on all harts.
pub fn flush_tlb_all() {
    flush_all(&TlbLock::lock());
}

/// Flushes the translations of every ASID, by a flush of everything.
pub use flush_tlb_all as flush_all_asids;

/// Does nothing: absent pages are not kept.
#[cfg(feature = "multitask")]
pub fn flush_fresh(_pages: Range<usize>) {}

/// The most pages that are flushed one by one; for more, everything is flushed.
pub const MAX_PAGE_FLUSHES: usize = 32;

/// Says that [`flush_tlb_page`] and [`flush_tlb_all`] flush on every hart.
pub const FLUSHES_EVERY_HART: bool = true;

/// Returns `true`: this hart's own flush has flushed every hart.
pub fn remote_flush(_harts: u64, _pages: Range<usize>) -> bool {
    true
}

/// The thread that has the lock; 0 if the lock is free.
static OWNER: AtomicUsize = AtomicUsize::new(0);

/// The lock of the translations, held from a walk to the addition of its result.
///
/// It makes a walk and the addition one step for a flush. Otherwise a walker could add, after
/// the flush, a translation that it has read before it.
///
/// The lock is reentrant: a thread that flushes the stack it runs on faults, and then walks
/// in the middle of the flush.
pub struct TlbLock {
    is_outermost: bool,
}

impl TlbLock {
    /// Waits until no other thread has the lock, and takes it.
    pub fn lock() -> Self {
        let me = harts::this_thread();
        // Relaxed: the value is `me` only if this thread has stored it.
        if OWNER.load(Relaxed) == me {
            return Self {
                is_outermost: false,
            };
        }
        // Acquire: pairs with the release in `drop`.
        while OWNER
            .compare_exchange_weak(0, me, Acquire, Relaxed)
            .is_err()
        {
            core::hint::spin_loop();
        }
        Self { is_outermost: true }
    }
}

impl Drop for TlbLock {
    fn drop(&mut self) {
        if self.is_outermost {
            // Release: pairs with the acquire in `lock`.
            OWNER.store(0, Release);
        }
    }
}
