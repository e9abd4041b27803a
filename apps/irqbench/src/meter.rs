//! A timer that interrupts an operation again and again, and how late its interrupts are.
//!
//! The kernel is not changed for it: only the timer's handler is replaced. The timer is set
//! from before the operation begins until after it has ended, an interrupt every [`PERIOD`].
//! The handler notes how late each is, and the latest counts.
//!
//! ```text
//!   interrupts   in ───┐           out            ┌── in
//!                      └──────────────────────────┘
//!                             ▲ due               ▲ handled
//!                             └───── noted ───────┘
//! ```
//!
//! An interrupt that comes due while interrupts are out is late by what is left of that
//! stretch. So the result is at least the longest stretch less [`PERIOD`], and at most the
//! longest stretch and the way into the handler. Nothing is taken off.

use core::hint::spin_loop;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU64};

use axplat::irq::{register, unregister};
use axplat::time::{monotonic_time_nanos, set_oneshot_timer};
use axstd::os::arceos::modules::axhal::arch::TIMER_IRQ;

/// From the handling of one interrupt until the next is due, in nanoseconds.
pub const PERIOD: u64 = 4_000;

/// When the next interrupt is due. This and the others are one hart's: the operation runs on
/// it, and the handler between two instructions of the operation. So `Relaxed` is enough.
static DUE: AtomicU64 = AtomicU64::new(0);
/// How late an interrupt has been at most.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// Whether the handler sets the timer again.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Whether the timer is set and has not rung.
static IS_SET: AtomicBool = AtomicBool::new(false);

/// Puts the handler in the place of the kernel's, which only counts, for good. Returns
/// whether it could.
pub fn install() -> bool {
    unregister(TIMER_IRQ);
    register(TIMER_IRQ, on_timer)
}

fn on_timer() {
    let now = monotonic_time_nanos();
    LATEST.fetch_max(now.saturating_sub(DUE.load(Relaxed)), Relaxed);
    if GOES_ON.load(Relaxed) {
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

/// How late interrupts have been in the operations so far.
pub struct Meter {
    /// From an operation's beginning until the first interrupt is due, in nanoseconds.
    pub first: u64,
    /// How late one has been at most, in nanoseconds.
    pub latest: u64,
}

impl Meter {
    /// Returns one that no operation has been given to.
    pub fn new() -> Self {
        Self {
            first: PERIOD,
            latest: 0,
        }
    }

    /// Runs `operation`, with interrupts due all along.
    pub fn watch<R>(&mut self, operation: impl FnOnce() -> R) -> R {
        LATEST.store(0, Relaxed);
        GOES_ON.store(true, Relaxed);
        set_timer(monotonic_time_nanos() + self.first);
        let result = operation();
        GOES_ON.store(false, Relaxed);
        // The last interrupt may have come due within the operation.
        while IS_SET.load(Relaxed) {
            spin_loop();
        }
        self.latest = self.latest.max(LATEST.load(Relaxed));
        result
    }
}
