//! The clock: the `time` CSR, at the device tree's rate.

use axmachine::Clock;
use axplat::time::TimeIf;
use lazyinit::LazyInit;

static CLOCK: LazyInit<Clock> = LazyInit::new();

/// The rate where the device tree names none: QEMU's.
const DEFAULT_HZ: u32 = 10_000_000;

/// Reads the rate.
pub fn init() {
    let hz = crate::machine::device_tree().and_then(|tree| tree.u32("/cpus", "timebase-frequency"));
    CLOCK.init_once(Clock::new(hz.unwrap_or(DEFAULT_HZ).into()));
}

struct Time;

#[axplat::impl_interface]
impl TimeIf for Time {
    fn current_ticks() -> u64 {
        let ticks: u64;
        // SAFETY: reading the clock changes nothing.
        unsafe { core::arch::asm!("rdtime {}", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }

    fn ticks_to_nanos(ticks: u64) -> u64 {
        CLOCK.ticks_to_nanos(ticks)
    }

    fn nanos_to_ticks(nanos: u64) -> u64 {
        CLOCK.nanos_to_ticks(nanos)
    }

    /// The machine's calendar clock is not read: time counts from power-on.
    fn epochoffset_nanos() -> u64 {
        0
    }

    #[cfg(feature = "irq")]
    fn set_oneshot_timer(deadline_ns: u64) {
        // Rounded up: a deadline is never early.
        sbi_rt::set_timer(CLOCK.nanos_to_ticks(deadline_ns) + 1);
    }
}
