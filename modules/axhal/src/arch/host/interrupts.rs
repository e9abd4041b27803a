//! This hart's interrupts as a whole. A hart takes interrupts where it waits, and at no other
//! time. The handler of a page fault takes no interrupts even where it waits.

/// A guard that keeps interrupts off while it exists. It does nothing: interrupts are taken
/// only where a hart waits, and a caller that has the guard does not wait.
pub use kernel_guard::IrqSave as IrqsOff;
#[cfg(feature = "irq")]
pub use linux_host::irq::{IPI as IPI_IRQ, TIMER as TIMER_IRQ};

/// The number of page faults that this hart is handling, one within the other.
#[percpu::def_percpu]
static PAGE_FAULTS: usize = 0;

/// Does nothing: see [`irqs_enabled`].
pub fn enable_irqs() {}

/// Does nothing: see [`irqs_enabled`].
pub fn disable_irqs() {}

/// Returns whether this hart takes interrupts where it waits. It does, unless it handles a
/// page fault.
pub fn irqs_enabled() -> bool {
    PAGE_FAULTS.read_current() == 0
}

/// Calls `f` with interrupts off.
///
/// Per-hart data lies in memory that the page table maps. So the access to it may fault, and
/// needs a walk. The walk does not use per-hart data.
#[cfg(feature = "paging")]
pub(crate) fn without_irqs<T>(f: impl FnOnce() -> T) -> T {
    let before = PAGE_FAULTS.read_current();
    PAGE_FAULTS.write_current(before + 1);
    let result = f();
    PAGE_FAULTS.write_current(before);
    result
}

/// Sleeps until an interrupt is pending, and takes all that are.
#[cfg(feature = "irq")]
pub fn wait_for_irqs() {
    let pending = linux_host::irq::wait();
    for irq in (0..u32::BITS as usize).filter(|irq| pending & 1 << irq != 0) {
        axplat::irq::handle(irq);
    }
}

/// Sleeps for ever.
pub fn halt() -> ! {
    loop {
        // SAFETY: waiting for a signal has no effect.
        unsafe { libc::pause() };
    }
}
