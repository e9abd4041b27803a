//! Interrupts: the timer, and calls from other harts.

use axplat::irq::IpiTarget;

use crate::arch::{IPI_IRQ, TIMER_IRQ};

/// How many timer interrupts this hart has taken.
#[percpu::def_percpu]
static TIMER_TICKS: u64 = 0;

/// Registers the kernel's own handlers. The first hart does it, once, before
/// any hart lets interrupts in.
pub fn init() {
    axplat::irq::register(TIMER_IRQ, || {
        TIMER_TICKS.with_current(|ticks| *ticks += 1);
    });
    axplat::irq::register(IPI_IRQ, || {
        axlog::stop_if_taken();
        #[cfg(feature = "paging")]
        crate::tlb::answer();
    });
}

/// How many timer interrupts the calling hart has taken.
pub fn timer_ticks() -> u64 {
    TIMER_TICKS.read_current()
}

/// Interrupts hart `cpu_id`: it wakes if it sleeps.
pub fn kick(cpu_id: usize) {
    axplat::irq::send_ipi(IPI_IRQ, IpiTarget::Other { cpu_id });
}
