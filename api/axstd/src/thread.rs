//! Waiting.

use core::time::Duration;

use axfeat::axhal::time::{monotonic_time_nanos, sleep_until};

/// Sleeps for at least `duration`; the hart sleeps with it, for lack of other
/// threads.
pub fn sleep(duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    sleep_until(monotonic_time_nanos().saturating_add(nanos));
}
