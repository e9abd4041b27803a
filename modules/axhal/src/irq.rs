//! Interrupts: the timer, and calls from other harts.

use core::sync::atomic::{AtomicU64, Ordering};

use axplat::irq::IpiTarget;

use crate::arch::{IPI_IRQ, TIMER_IRQ};

/// How many timer interrupts this hart has taken.
#[percpu::def_percpu]
static TIMER_TICKS: u64 = 0;

/// Calls from other harts, machine-wide: for statistics.
static IPIS_TAKEN: AtomicU64 = AtomicU64::new(0);

/// Registers the kernel's own handlers. The first hart does it, once, before
/// any hart lets interrupts in.
pub fn init() {
    axplat::irq::register(TIMER_IRQ, || {
        TIMER_TICKS.with_current(|ticks| *ticks += 1);
    });
    axplat::irq::register(IPI_IRQ, || {
        IPIS_TAKEN.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "paging")]
        crate::tlb::answer();
    });
}

/// How many timer interrupts the calling hart has taken.
pub fn timer_ticks() -> u64 {
    TIMER_TICKS.read_current()
}

/// How many calls from other harts have been taken, on all harts together.
pub fn ipis_taken() -> u64 {
    IPIS_TAKEN.load(Ordering::Relaxed)
}

/// Interrupts hart `cpu_id`: it wakes if it sleeps.
pub fn kick(cpu_id: usize) {
    axplat::irq::send_ipi(IPI_IRQ, IpiTarget::Other { cpu_id });
}
