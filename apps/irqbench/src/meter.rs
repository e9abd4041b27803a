//! A timer that interrupts an operation again and again, and measures how late its interrupts are.
//!
//! The kernel is not changed: only the timer's handler is replaced. While the operation runs, an
//! interrupt is due every [`PERIOD`]. The handler measures how late each one is, and the latest
//! counts.
//!
//! ```text
//!   interrupts   on ───┐           off            ┌── on
//!                      └──────────────────────────┘
//!                             ▲ due               ▲ handled
//!                             └──── measured ─────┘
//! ```
//!
//! An interrupt that is due while interrupts are off is late by the rest of that section. So the
//! result is at least the longest section less [`PERIOD`]. It is at most the longest section and
//! the entry into the handler, whose cost is not subtracted.

use core::hint::spin_loop;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU64};

use axplat::irq::{register, unregister};
use axplat::time::{monotonic_time_nanos, set_oneshot_timer};
use axstd::os::arceos::modules::axhal::arch::TIMER_IRQ;

/// The time in nanoseconds from the handling of one interrupt until the next is due.
pub const PERIOD: u64 = 4_000;

/// The time at which the next interrupt is due. Relaxed, here and below: the handler interrupts the
/// operation on the same hart, and no other hart uses these variables.
static DUE: AtomicU64 = AtomicU64::new(0);
/// The delay of the latest interrupt, in nanoseconds.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// Whether the handler must set the timer again.
static REPEATS: AtomicBool = AtomicBool::new(false);
/// Whether the timer is set, and its interrupt has not been handled.
static IS_SET: AtomicBool = AtomicBool::new(false);

/// Replaces the kernel's timer handler, which only counts interrupts, for the rest of the run.
/// Returns whether the handler was registered.
pub fn install() -> bool {
    unregister(TIMER_IRQ);
    register(TIMER_IRQ, on_timer)
}

fn on_timer() {
    let now = monotonic_time_nanos();
    LATEST.fetch_max(now.saturating_sub(DUE.load(Relaxed)), Relaxed);
    if REPEATS.load(Relaxed) {
        set_timer(now + PERIOD);
    } else {
        IS_SET.store(false, Relaxed);
    }
}

fn set_timer(due: u64) {
    DUE.store(due, Relaxed);
    IS_SET.store(true, Relaxed);
    set_oneshot_timer(due);
}

/// Measures how late the interrupts of several operations are.
pub struct Meter {
    /// The time in nanoseconds from an operation's begin until the first interrupt is due.
    pub first: u64,
    /// The delay of the latest interrupt in all operations, in nanoseconds.
    pub latest: u64,
}

impl Meter {
    /// Returns a meter that has measured no operation.
    pub fn new() -> Self {
        Self {
            first: PERIOD,
            latest: 0,
        }
    }

    /// Runs `operation` while the timer interrupts it, and returns its result.
    pub fn watch<R>(&mut self, operation: impl FnOnce() -> R) -> R {
        LATEST.store(0, Relaxed);
        REPEATS.store(true, Relaxed);
        set_timer(monotonic_time_nanos() + self.first);
        let result = operation();
        REPEATS.store(false, Relaxed);
        // The last interrupt may be due within the operation, and not handled yet.
        while IS_SET.load(Relaxed) {
            spin_loop();
        }
        self.latest = self.latest.max(LATEST.load(Relaxed));
        result
    }
}
