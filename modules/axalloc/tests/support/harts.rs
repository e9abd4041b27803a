//! Harts between which a test switches. For the crate's own tests.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::hart_cache::HartCache;
use crate::harts::Harts;

/// The number of harts.
pub const HARTS: usize = 3;

/// A few harts with a cache each, and the number of the one that the test runs on.
pub struct TestHarts {
    caches: [HartCache; HARTS],
    current: AtomicUsize,
}

impl TestHarts {
    /// Harts with empty caches. The test runs on the first.
    pub const fn new() -> Self {
        Self {
            caches: [const { HartCache::new() }; HARTS],
            current: AtomicUsize::new(0),
        }
    }

    /// Lets the test continue on `hart`, modulo [`HARTS`].
    pub fn switch_to(&self, hart: usize) {
        self.current.store(hart % HARTS, Ordering::Relaxed);
    }
}

impl Harts for TestHarts {
    fn with_cache<R>(&self, f: impl FnOnce(&HartCache) -> R) -> R {
        f(&self.caches[self.current.load(Ordering::Relaxed)])
    }

    fn for_each_cache(&self, f: impl FnMut(&HartCache)) {
        self.caches.iter().for_each(f);
    }
}
