//! A point that threads pass together.

use super::{Condvar, Mutex};

/// A point that threads pass together, as many as it was made for.
#[derive(Debug)]
pub struct Barrier {
    /// How many are here, and how often all have passed.
    here: Mutex<(usize, usize)>,
    passed: Condvar,
    wanted: usize,
}

/// Whether a thread was the last to come to a [`Barrier`].
#[derive(Clone, Copy, Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether it was, which is so for one of those that pass together.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// A point that `wanted` threads pass together.
    pub const fn new(wanted: usize) -> Self {
        Self {
            here: Mutex::new((0, 0)),
            passed: Condvar::new(),
            wanted,
        }
    }

    /// Waits until as many threads as are wanted are here.
    pub fn wait(&self) -> BarrierWaitResult {
        let mut guard = self.here.lock();
        guard.0 += 1;
        if guard.0 >= self.wanted {
            *guard = (0, guard.1.wrapping_add(1));
            self.passed.notify_all();
            return BarrierWaitResult(true);
        }
        let before = guard.1;
        drop(self.passed.wait_while(guard, |(_, now)| *now == before));
        BarrierWaitResult(false)
    }
}
