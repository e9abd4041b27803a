//! Moments and durations, as in `std::time`.

use core::ops::{Add, AddAssign, Sub, SubAssign};

pub use core::time::Duration;

use axfeat::axhal::time::monotonic_time;

/// A moment of a monotonic clock, which counts from power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// Returns the current moment.
    pub fn now() -> Self {
        Self(monotonic_time())
    }

    /// Returns how long the machine had been on at this moment.
    pub fn since_power_on(&self) -> Duration {
        self.0
    }

    /// Returns how long ago this moment was.
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Instant {
    /// Returns the moment `duration` later, or `None` if it cannot be represented.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    /// Returns the moment `duration` earlier, or `None` if that is before power-on.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(duration).map(Self)
    }

    /// Returns the time from `earlier` to this moment, or `None` if `earlier` is later.
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0)
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later. It is
    /// equal to [`duration_since`](Self::duration_since).
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// Returns the moment `duration` later. Panics like `std`'s if it cannot be represented.
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

/// Returns the moment `duration` earlier. Panics like `std`'s if that is before power-on.
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

/// Returns the time from the other moment to this one, or zero if the other one is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}
