//! This hart's interrupts as a whole.

use core::arch::asm;

use aarch64_cpu::asm::{barrier, wfi};
use aarch64_cpu::registers::{DAIF, Readable};

/// A guard that keeps interrupts off while it exists.
pub use kernel_guard::IrqSave as IrqsOff;

/// Software-generated interrupt 0 of the interrupt controller.
pub const IPI_IRQ: usize = 0;
/// The virtual timer's private peripheral interrupt.
pub const TIMER_IRQ: usize = 27;

/// `PSTATE.I`, as an operand of `msr daifset` and `msr daifclr`.
const PSTATE_I: usize = 0b0010;

/// Turns interrupts on.
pub fn enable_irqs() {
    // SAFETY: the trap vectors are set before any code turns interrupts on.
    unsafe { asm!("msr daifclr, {}", const PSTATE_I, options(nostack)) };
}

/// Turns interrupts off.
pub fn disable_irqs() {
    // SAFETY: turning interrupts off affects no memory.
    unsafe { asm!("msr daifset, {}", const PSTATE_I, options(nostack)) };
}

/// Returns whether interrupts are on.
pub fn irqs_enabled() -> bool {
    !DAIF.is_set(DAIF::I)
}

/// Sleeps until an interrupt is pending, and takes it. Called and returns with interrupts
/// off. `wfi` wakes for pending interrupts even then ("Wait for Interrupt"), so no
/// interrupt is missed.
pub fn wait_for_irqs() {
    // Makes earlier writes visible to other harts while this one sleeps.
    barrier::dsb(barrier::SY);
    wfi();
    enable_irqs();
    // A pending interrupt is taken here at the latest.
    barrier::isb(barrier::SY);
    disable_irqs();
}

/// Sleeps for ever, with interrupts off.
pub fn halt() -> ! {
    disable_irqs();
    loop {
        wfi();
    }
}
