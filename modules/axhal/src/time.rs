//! Time since power-on.

#[cfg(feature = "multitask")]
pub use axplat::time::set_oneshot_timer;
pub use axplat::time::{monotonic_time, monotonic_time_nanos};

/// Sleeps on this hart until the monotonic time `deadline_ns`, waking for
/// interrupts meanwhile. Never returns early.
#[cfg(feature = "irq")]
pub fn sleep_until(deadline_ns: u64) {
    let were_on = crate::arch::irqs_enabled();
    crate::arch::disable_irqs();
    while monotonic_time_nanos() < deadline_ns {
        axplat::time::set_oneshot_timer(deadline_ns);
        crate::arch::wait_for_irqs();
    }
    if were_on {
        crate::arch::enable_irqs();
    }
}
