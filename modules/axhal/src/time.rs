//! Time since power-on.

pub use axplat::time::monotonic_time;
#[cfg(feature = "multitask")]
pub use axplat::time::set_oneshot_timer;

/// Returns the nanoseconds since power-on. It is not inlined, because the conversion of
/// clock ticks is long.
#[inline(never)]
pub fn monotonic_time_nanos() -> u64 {
    axplat::time::monotonic_time_nanos()
}

/// Sleeps on this hart until the monotonic time `deadline_ns`, and never returns early.
/// Interrupts are taken meanwhile. The hart that ends the machine takes no interrupts, so
/// there it is a busy wait.
#[cfg(feature = "irq")]
pub fn sleep_until(deadline_ns: u64) {
    let were_on = crate::arch::irqs_enabled();
    crate::arch::disable_irqs();
    while monotonic_time_nanos() < deadline_ns {
        // The hart that ends the machine has taken the console, and takes no interrupts.
        if axlog::has_console() {
            core::hint::spin_loop();
            continue;
        }
        axplat::time::set_oneshot_timer(deadline_ns);
        crate::arch::wait_for_irqs();
    }
    if were_on {
        crate::arch::enable_irqs();
    }
}

/// How long a [`nap`] takes, in nanoseconds.
#[cfg(feature = "smp")]
const NAP_NS: u64 = 20_000;

/// Sleeps for a moment, in the middle of waiting for another hart. This hart's sleep leaves
/// an emulator's processor to the other.
#[cfg(feature = "smp")]
pub(crate) fn nap() {
    sleep_until(monotonic_time_nanos() + NAP_NS);
}
