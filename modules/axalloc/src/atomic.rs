//! The atomics of the lock-free parts: those of `core`, or, in this crate's own tests, those
//! of `loom`, which tries every interleaving of a test.

#[cfg(not(all(loom, test)))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
#[cfg(all(loom, test))]
pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};

/// An `AtomicUsize` of loom whose stores are swaps.
///
/// Loom lets a store of one thread come between the load and the store of another thread's
/// swap (tokio-rs/loom#254), which no hardware does.
#[cfg(all(loom, test))]
#[derive(Debug)]
pub(crate) struct AtomicUsize(loom::sync::atomic::AtomicUsize);

#[cfg(all(loom, test))]
impl AtomicUsize {
    pub(crate) fn new(value: usize) -> Self {
        Self(loom::sync::atomic::AtomicUsize::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> usize {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: usize, order: Ordering) {
        self.0.swap(value, order);
    }

    pub(crate) fn swap(&self, value: usize, order: Ordering) -> usize {
        self.0.swap(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        old: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        self.0.compare_exchange(old, new, success, failure)
    }
}
