//! The atomics of the lock-free parts: the machine's, or, in this crate's own tests, those
//! of `loom`, which tries every interleaving of a test.

#[cfg(not(all(loom, test)))]
pub use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
#[cfg(all(loom, test))]
pub use loom::sync::atomic::{AtomicU32, Ordering, fence};

/// Loom lets a store slip in between the two halves of another thread's swap
/// (tokio-rs/loom#254), so that here it is a swap too.
#[cfg(all(loom, test))]
#[derive(Debug)]
pub struct AtomicUsize(loom::sync::atomic::AtomicUsize);

#[cfg(all(loom, test))]
impl AtomicUsize {
    pub fn new(value: usize) -> Self {
        Self(loom::sync::atomic::AtomicUsize::new(value))
    }

    pub fn load(&self, order: Ordering) -> usize {
        self.0.load(order)
    }

    pub fn store(&self, value: usize, order: Ordering) {
        self.0.swap(value, order);
    }

    pub fn swap(&self, value: usize, order: Ordering) -> usize {
        self.0.swap(value, order)
    }

    pub fn compare_exchange(
        &self,
        old: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        self.0.compare_exchange(old, new, success, failure)
    }
}
