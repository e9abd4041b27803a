//! Sequence counters: how a reader without a lock learns that a writer was at work.

use crate::sync::{AtomicUsize, Ordering, const_unless_loom, fence};

#[cfg(all(test, loom))]
mod interleavings;

/// The sequence counter of some [words](super::word::Word), which one thread at a time writes
/// and others read without waiting: a seqlock (Boehm, "Can Seqlocks Get Along with Programming
/// Language Memory Models?", MSPC 2012). The count is odd while the words are written, and has
/// a new even value afterwards.
pub struct SeqCount(AtomicUsize);

impl SeqCount {
    const_unless_loom! {
        /// Returns the counter of words that have never been written.
        pub fn new() -> Self {
            Self(AtomicUsize::new(0))
        }
    }

    /// Called before the first word is written. One thread at a time calls it.
    #[inline(always)]
    pub fn begin_write(&self) {
        // `| 1` and not `+ 1`: if an earlier writer panicked, the count is odd already.
        let next = self.0.load(Ordering::Relaxed) | 1;
        self.0.store(next, Ordering::Relaxed);
        // Pairs with the fence of `is_unchanged`: a reader of any word that is written from
        // here on sees the odd count, or a later one.
        fence(Ordering::Release);
    }

    /// Called after the last word is written.
    #[inline(always)]
    pub fn end_write(&self) {
        let next = self.0.load(Ordering::Relaxed).wrapping_add(1);
        // Release pairs with `begin_read`: a reader of this count sees all words as they are.
        self.0.store(next, Ordering::Release);
    }

    /// Returns the count before words are read, or `None` while they are written.
    #[inline(always)]
    pub fn begin_read(&self) -> Option<usize> {
        // Acquire pairs with `end_write`.
        let count = self.0.load(Ordering::Acquire);
        count.is_multiple_of(2).then_some(count)
    }

    /// Returns whether all words read since [`begin_read`](Self::begin_read) returned `count`
    /// belong together: no word was written meanwhile.
    #[inline(always)]
    pub fn is_unchanged(&self, count: usize) -> bool {
        // Pairs with the fence of `begin_write`.
        fence(Ordering::Acquire);
        self.0.load(Ordering::Relaxed) == count
    }
}
