//! Conversion between a clock's ticks and nanoseconds.

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A counter that ticks at a constant rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    hz: u64,
}

impl Clock {
    /// Returns a clock of `hz` ticks a second. A rate of 0 becomes 1, so that no division is
    /// by zero.
    pub const fn new(hz: u64) -> Self {
        Self {
            hz: if hz == 0 { 1 } else { hz },
        }
    }

    /// Returns how many nanoseconds `ticks` last, rounded down; `u64::MAX` for more than 584
    /// years.
    ///
    /// Whole seconds and the remainder are scaled separately, so the result is exact for
    /// rates up to 18 GHz.
    pub const fn ticks_to_nanos(self, ticks: u64) -> u64 {
        let whole = (ticks / self.hz).saturating_mul(NANOS_PER_SEC);
        whole.saturating_add((ticks % self.hz).saturating_mul(NANOS_PER_SEC) / self.hz)
    }

    /// Returns how many ticks `nanos` nanoseconds last, rounded down; `u64::MAX` if the
    /// result does not fit in 64 bits.
    pub const fn nanos_to_ticks(self, nanos: u64) -> u64 {
        let whole = (nanos / NANOS_PER_SEC).saturating_mul(self.hz);
        whole.saturating_add((nanos % NANOS_PER_SEC).saturating_mul(self.hz) / NANOS_PER_SEC)
    }

    /// Returns the first tick at which `deadline`, a time in nanoseconds, has certainly
    /// passed. The latest deadlines become `u64::MAX`. If they wrapped to 0, the timer would
    /// fire at once, again and again.
    pub const fn deadline(self, deadline: u64) -> u64 {
        self.nanos_to_ticks(deadline).saturating_add(1)
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
    fn a_deadline_is_rounded_up_and_never_wraps() {
        for hz in [1_000_000_000, 1_000_000_001, 4_000_000_000, u64::MAX] {
            let clock = Clock::new(hz);
            assert_eq!(clock.nanos_to_ticks(u64::MAX), u64::MAX, "{hz} Hz");
            for deadline in [u64::MAX, u64::MAX - 1, u64::MAX - u64::MAX % 1_000_000_000] {
                assert!(clock.deadline(deadline) > u64::MAX / 2, "{hz} Hz");
            }
        }
        assert_eq!(Clock::new(10_000_000).deadline(1_000), 11);
        assert_eq!(Clock::new(10_000_000).deadline(1_050), 11);
    }

    #[test]
    fn a_result_beyond_64_bits_saturates() {
        assert_eq!(Clock::new(1).ticks_to_nanos(u64::MAX), u64::MAX);
        assert_eq!(Clock::new(10_000_000).ticks_to_nanos(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_rate_of_zero_does_not_divide_by_zero() {
        assert_eq!(Clock::new(0).ticks_to_nanos(2), 2_000_000_000);
    }
}
