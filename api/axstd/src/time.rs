//! Time.

pub use core::time::Duration;

use axfeat::axhal::time::monotonic_time;

/// A moment of a clock that never goes back. It counts from power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        Self(monotonic_time())
    }

    /// How long the machine had been on at this moment.
    pub fn since_power_on(&self) -> Duration {
        self.0
    }

    /// How long ago this moment was.
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// How long after `earlier` this moment was; zero if it was before.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
