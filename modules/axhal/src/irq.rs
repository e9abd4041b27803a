//! Interrupts: the timer's, and those that harts send to each other.

use crate::arch::{IPI_IRQ, TIMER_IRQ};

pub use crate::ipi::kick;

/// The number of timer interrupts that this hart has taken.
#[percpu::def_percpu]
static TIMER_TICKS: u64 = 0;

/// Registers the kernel's own handlers. The first hart calls it, once, before any hart
/// enables interrupts.
pub fn init() {
    axplat::irq::register(TIMER_IRQ, || {
        TIMER_TICKS.with_current(|ticks| *ticks += 1);
    });
    axplat::irq::register(IPI_IRQ, || {
        // The hart that ends the machine first takes the console. Its interrupt stops the
        // others.
        axlog::stop_if_taken();
        #[cfg(feature = "paging")]
        crate::tlb::acknowledge();
    });
}

/// Returns the number of timer interrupts that the calling hart has taken.
pub fn timer_ticks() -> u64 {
    TIMER_TICKS.read_current()
}
