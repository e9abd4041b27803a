//! Time since power-on.

pub use axplat::time::{monotonic_time, monotonic_time_nanos};

/// Nanoseconds since the kernel's first instruction.
pub fn nanos_since_boot() -> u64 {
    let boot = axplat::time::ticks_to_nanos(axmachine::boot_ticks());
    monotonic_time_nanos().saturating_sub(boot)
}

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
