//! Time since power-on.

pub use axplat::time::monotonic_time;
#[cfg(feature = "multitask")]
pub use axplat::time::set_oneshot_timer;

/// Nanoseconds since power-on. One function for all callers: the conversion is long.
#[inline(never)]
pub fn monotonic_time_nanos() -> u64 {
    axplat::time::monotonic_time_nanos()
}

/// Sleeps on this hart until the monotonic time `deadline_ns`, waking for
/// interrupts meanwhile; on the hart that ends the machine it is a busy wait, for no
/// interrupt comes in there. Never returns early.
#[cfg(feature = "irq")]
pub fn sleep_until(deadline_ns: u64) {
    let were_on = crate::arch::irqs_enabled();
    crate::arch::disable_irqs();
    while monotonic_time_nanos() < deadline_ns {
        if crate::power::is_ending() {
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
