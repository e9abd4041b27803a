//! How often operations that wait in a queue are overtaken, for tests.
//!
//! A hart starts to wait when it draws a ticket. Each operation of another hart on an overlapping
//! range that has its turn during the wait overtakes it, whatever its ticket. Tickets are drawn,
//! and turns begin, with the index lock held, so the count is exact. It does not matter when a
//! hart is interrupted, or stopped by the host of an emulator.
//!
//! Without the feature `overtakes` nothing is counted.

#[cfg(feature = "overtakes")]
pub use counted::{Overtaken, Overtakes, overtaken};
#[cfg(not(feature = "overtakes"))]
pub use uncounted::Overtakes;

#[cfg(feature = "overtakes")]
mod counted {
    use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

    /// The most harts there can be.
    const HARTS: usize = 64;

    /// Waits that have ended, and the most that one hart overtook another in one wait.
    static WAITS: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    /// What has been counted since boot, in all address spaces.
    #[derive(Clone, Copy, Debug)]
    pub struct Overtaken {
        /// Waits in a queue that have ended.
        pub waits: usize,
        /// The most operations of one other hart that had their turn during one wait, up
        /// to 255.
        pub most: usize,
    }

    /// Returns what has been counted since boot.
    pub fn overtaken() -> Overtaken {
        Overtaken {
            waits: WAITS.load(Relaxed),
            most: MOST.load(Relaxed),
        }
    }

    /// The counts of one hart that waits: how often each other hart has overtaken it. Used with
    /// the index lock held, so relaxed loads and stores are enough.
    pub struct Overtakes([AtomicU8; HARTS]);

    impl Overtakes {
        /// Whether anything is counted.
        pub const ARE_COUNTED: bool = true;

        pub const fn new() -> Self {
            Self([const { AtomicU8::new(0) }; HARTS])
        }

        /// Begins a wait: sets all counts to 0.
        pub fn start(&self) {
            self.0.iter().for_each(|times| times.store(0, Relaxed));
        }

        /// Counts an operation of `hart` that overtakes the waiting hart.
        pub fn add(&self, hart: usize) {
            let times = self.0[hart].load(Relaxed).saturating_add(1);
            self.0[hart].store(times, Relaxed);
            MOST.fetch_max(times.into(), Relaxed);
        }

        /// Counts a wait that has ended.
        pub fn finish(&self) {
            WAITS.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(not(feature = "overtakes"))]
mod uncounted {
    /// Counts nothing.
    pub struct Overtakes;

    impl Overtakes {
        /// Whether anything is counted.
        pub const ARE_COUNTED: bool = false;

        pub const fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub fn start(&self) {}

        #[inline(always)]
        pub fn add(&self, _hart: usize) {}

        #[inline(always)]
        pub fn finish(&self) {}
    }
}
