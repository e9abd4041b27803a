//! The clock: CLOCK_MONOTONIC, in nanoseconds since the process started.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use axplat::time::TimeIf;

/// CLOCK_MONOTONIC at the start of the process.
///
/// Relaxed in all accesses: `start` stores it before another thread starts.
static START: AtomicU64 = AtomicU64::new(0);

/// Starts the clock. Returns the ticks since then.
pub fn start() -> u64 {
    START.store(now(), Relaxed);
    Time::current_ticks()
}

fn now() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // The call fails only if the process has lost the page of `now`. The write below
    // maps it again.
    // SAFETY: `now` is a local variable of the right type.
    while unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } != 0 {
        now.tv_sec = 0;
    }
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

struct Time;

#[axplat::impl_interface]
impl TimeIf for Time {
    fn current_ticks() -> u64 {
        now().saturating_sub(START.load(Relaxed))
    }

    fn ticks_to_nanos(ticks: u64) -> u64 {
        ticks
    }

    fn nanos_to_ticks(nanos: u64) -> u64 {
        nanos
    }

    /// Returns 0: time counts from the start of the process.
    fn epochoffset_nanos() -> u64 {
        0
    }

    #[cfg(feature = "irq")]
    fn set_oneshot_timer(deadline_ns: u64) {
        crate::irq::set_deadline(deadline_ns);
    }
}
