//! Time.

use core::ops::{Add, AddAssign, Sub, SubAssign};

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

impl Instant {
    /// The moment `duration` later; `None` if there is none so late.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    /// The moment `duration` earlier; `None` if the machine was off.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }

    /// How long after `earlier` this moment was; `None` if it was before.
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0)
    }

    /// As [`duration_since`](Self::duration_since).
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// Panics, as `std`'s, for a moment that there is not.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Panics, as `std`'s, for a moment that there is not.
impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// Zero if the other was later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}
