//! The state of fault injection on one hart: which allocation is made to fail.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts a hart's allocations down to the one that fails.
///
/// All accesses are relaxed: only the hart that owns the countdown uses it.
pub(crate) struct Countdown {
    /// The number of allocations up to and including the one that fails. 0 if all succeed.
    left: AtomicUsize,
    /// Whether all allocations after that one fail too.
    for_good: AtomicBool,
    fired: AtomicBool,
}

impl Countdown {
    /// A countdown that lets no allocation fail.
    pub(crate) const fn new() -> Self {
        Self {
            left: AtomicUsize::new(0),
            for_good: AtomicBool::new(false),
            fired: AtomicBool::new(false),
        }
    }

    /// Makes the `n`th allocation from now on fail, and also all later ones if `for_good`.
    /// With `n` = 0, no allocation fails.
    pub(crate) fn start(&self, n: usize, for_good: bool) {
        self.left.store(n, Ordering::Relaxed);
        self.for_good.store(for_good, Ordering::Relaxed);
        self.fired.store(false, Ordering::Relaxed);
    }

    /// Stops the countdown, and returns how many allocations were left, for
    /// [`resume`](Self::resume).
    pub(crate) fn stop(&self) -> usize {
        self.left.swap(0, Ordering::Relaxed)
    }

    /// Continues a countdown with `left` allocations, as returned by [`stop`](Self::stop).
    pub(crate) fn resume(&self, left: usize) {
        self.left.store(left, Ordering::Relaxed);
    }

    /// Returns whether an allocation was made to fail since the last [`start`](Self::start).
    pub(crate) fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Relaxed)
    }

    /// Counts one allocation, and returns whether it must fail.
    pub(crate) fn count_and_check(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        let fails = left == 1;
        // If all later allocations fail too, `left` stays 1.
        if !(fails && self.for_good.load(Ordering::Relaxed)) {
            self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        if fails {
            self.fired.store(true, Ordering::Relaxed);
        }
        fails
    }
}
