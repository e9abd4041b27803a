//! Threads, as in `std::thread`. Without the feature `multitask` there is only [`sleep`].

#[cfg(feature = "multitask")]
mod multi;
#[cfg(feature = "multitask")]
mod scoped;

#[cfg(feature = "multitask")]
pub use axfeat::axtask::{PREEMPTIVE, free_cached_stacks};
#[cfg(feature = "multitask")]
pub use multi::{
    Builder, JoinHandle, Thread, ThreadId, available_parallelism, current, park, park_timeout,
    spawn, yield_now,
};
#[cfg(feature = "multitask")]
pub use scoped::{Scope, ScopedJoinHandle, scope};

use core::time::Duration;

use axfeat::axhal::time::monotonic_time_nanos;
#[cfg(not(feature = "multitask"))]
use axfeat::axhal::time::sleep_until;
#[cfg(feature = "multitask")]
use axfeat::axtask::sleep_until;

/// Sleeps for at least `duration`. Other threads run meanwhile. If there are none, the hart
/// sleeps as well.
pub fn sleep(duration: Duration) {
    sleep_until(deadline(duration));
}

/// Returns the monotonic time in nanoseconds when `duration` will be over, or `u64::MAX` if
/// that is too late to be represented.
pub(crate) fn deadline(duration: Duration) -> u64 {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_time_nanos().saturating_add(nanos)
}
