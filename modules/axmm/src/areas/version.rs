//! Versions: how a reader without a lock learns that what it has read was being written.

use crate::atomic::{AtomicUsize, Ordering, fence};

#[cfg(all(test, loom))]
mod interleavings;

/// The version of [words](super::word::Word) that one hart at a time writes, and others
/// read without waiting: a sequence lock (Boehm, "Can Seqlocks Get Along with Programming
/// Language Memory Models?", MSPC 2012). It is odd while they are written, and a new one
/// after that.
pub struct Version(AtomicUsize);

impl Version {
    /// The version of what has never been written.
    pub fn first() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// From now on the words are written. One hart at a time calls it.
    #[inline(always)]
    pub fn begin(&self) {
        // Odd already if a panic kept an earlier writer from its end, and odd then, too.
        let next = self.0.load(Ordering::Relaxed) | 1;
        self.0.store(next, Ordering::Relaxed);
        // Pairs with the fence of `is_still`: a reader of any word that is written from
        // here on sees the odd version, or a later one.
        fence(Ordering::Release);
    }

    /// All words are written.
    #[inline(always)]
    pub fn end(&self) {
        let next = self.0.load(Ordering::Relaxed).wrapping_add(1);
        // Pairs with `read`: a reader of this version sees all that was written before.
        self.0.store(next, Ordering::Release);
    }

    /// The version before something is read; `None` while it is written.
    #[inline(always)]
    pub fn read(&self) -> Option<usize> {
        let version = self.0.load(Ordering::Acquire);
        version.is_multiple_of(2).then_some(version)
    }

    /// Whether no word that was read since [`read`](Self::read) returned `version` was
    /// written meanwhile.
    #[inline(always)]
    pub fn is_still(&self, version: usize) -> bool {
        fence(Ordering::Acquire);
        self.0.load(Ordering::Relaxed) == version
    }
}
