//! Harts of which a test says which one it is on. For the crate's own tests.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::hart::Harts;
use crate::stock::Stock;

/// How many there are.
pub const HARTS: usize = 3;

/// The harts.
pub struct TestHarts {
    stocks: [Stock; HARTS],
    this: AtomicUsize,
}

impl TestHarts {
    /// On the first one.
    pub const fn new() -> Self {
        Self {
            stocks: [const { Stock::new() }; HARTS],
            this: AtomicUsize::new(0),
        }
    }

    /// The test goes on on `hart`.
    pub fn go_to(&self, hart: usize) {
        self.this.store(hart % HARTS, Ordering::Relaxed);
    }
}

impl Harts for TestHarts {
    fn with_this<R>(&self, f: impl FnOnce(&Stock) -> R) -> R {
        f(&self.stocks[self.this.load(Ordering::Relaxed)])
    }

    fn for_each(&self, f: impl FnMut(&Stock)) {
        self.stocks.iter().for_each(f);
    }
}
