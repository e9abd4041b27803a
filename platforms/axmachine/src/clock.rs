//! Ticks and nanoseconds.

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A counter that ticks at a constant rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    hz: u64,
}

impl Clock {
    /// A clock of `hz` ticks a second; a rate of zero is taken as one.
    pub const fn new(hz: u64) -> Self {
        Self {
            hz: if hz == 0 { 1 } else { hz },
        }
    }

    /// The nanoseconds that `ticks` last, rounded down.
    ///
    /// Whole seconds and the rest are scaled apart, so that nothing overflows
    /// for rates up to 18 GHz and 584 years.
    pub const fn ticks_to_nanos(self, ticks: u64) -> u64 {
        (ticks / self.hz) * NANOS_PER_SEC + (ticks % self.hz) * NANOS_PER_SEC / self.hz
    }

    /// The ticks that `nanos` last, rounded down, or as many as there are numbers
    /// for: a deadline that never comes stays one.
    pub const fn nanos_to_ticks(self, nanos: u64) -> u64 {
        let whole = (nanos / NANOS_PER_SEC).saturating_mul(self.hz);
        whole.saturating_add((nanos % NANOS_PER_SEC) * self.hz / NANOS_PER_SEC)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_second_is_a_second_at_any_rate() {
        for hz in [
            1,
            3_579_545,
            10_000_000,
            62_500_000,
            1_000_000_000,
            4_000_000_000,
        ] {
            assert_eq!(Clock::new(hz).ticks_to_nanos(hz), 1_000_000_000);
            assert_eq!(Clock::new(hz).nanos_to_ticks(1_000_000_000), hz);
        }
    }

    #[test]
    fn years_of_uptime_do_not_overflow() {
        let clock = Clock::new(4_000_000_000);
        let year_ns = 365 * 86_400 * 1_000_000_000;
        assert_eq!(clock.ticks_to_nanos(clock.nanos_to_ticks(year_ns)), year_ns);
    }

    #[test]
    fn a_deadline_beyond_all_ticks_is_the_last() {
        assert_eq!(Clock::new(4_000_000_000).nanos_to_ticks(u64::MAX), u64::MAX);
    }

    #[test]
    fn no_rate_is_no_division_by_zero() {
        assert_eq!(Clock::new(0).ticks_to_nanos(2), 2_000_000_000);
    }
}
