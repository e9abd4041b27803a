//! Versions: how a reader without a lock tells that what it has read was written
//! meanwhile.

use crate::atomic::{AtomicUsize, Ordering, fence};

#[cfg(all(test, loom))]
mod interleavings;

/// The version of something that one writes at a time, and others read without
/// waiting: odd while it is written, and another one after (a "sequence lock"; Boehm,
/// "Can Seqlocks Get Along with Programming Language Memory Models?", MSPC 2012).
pub struct Version(AtomicUsize);

impl Version {
    /// Nothing has been written.
    pub fn first() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// From now on it is written.
    #[inline(always)]
    pub fn begin(&mut self) {
        let next = self.0.load(Ordering::Relaxed) + 1;
        self.0.store(next, Ordering::Relaxed);
        // Whoever sees what is written from here on sees that it is.
        fence(Ordering::Release);
    }

    /// All is written.
    #[inline(always)]
    pub fn end(&mut self) {
        let next = self.0.load(Ordering::Relaxed) + 1;
        self.0.store(next, Ordering::Release);
    }

    /// What the version is before something is read; `None` while it is written.
    #[inline(always)]
    pub fn read(&self) -> Option<usize> {
        let version = self.0.load(Ordering::Acquire);
        version.is_multiple_of(2).then_some(version)
    }

    /// Whether what has been read since [`read`](Self::read) answered `version` was
    /// written by nobody meanwhile.
    #[inline(always)]
    pub fn is_still(&self, version: usize) -> bool {
        fence(Ordering::Acquire);
        self.0.load(Ordering::Relaxed) == version
    }
}
