//! This hart's interrupts as a whole.

use core::arch::asm;

/// A guard that keeps interrupts off while it exists.
pub use kernel_guard::IrqSave as IrqsOff;

/// Supervisor software interrupt ("Supervisor Cause Register").
pub const IPI_IRQ: usize = 1;
/// Supervisor timer interrupt.
pub const TIMER_IRQ: usize = 5;

/// `sstatus.SIE`: interrupts as a whole.
const SSTATUS_SIE: usize = 1 << 1;

/// Turns interrupts on.
pub fn enable_irqs() {
    // SAFETY: the trap vector is set before any code turns interrupts on.
    unsafe { asm!("csrsi sstatus, {}", const SSTATUS_SIE, options(nostack)) };
}

/// Turns interrupts off.
pub fn disable_irqs() {
    // SAFETY: turning interrupts off affects no memory.
    unsafe { asm!("csrci sstatus, {}", const SSTATUS_SIE, options(nostack)) };
}

/// Returns whether interrupts are on.
pub fn irqs_enabled() -> bool {
    let sstatus: usize;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("csrr {}, sstatus", out(reg) sstatus, options(nomem, nostack)) };
    sstatus & SSTATUS_SIE != 0
}

/// Sleeps until an interrupt is pending, and takes it. Called and returns with interrupts
/// off. `wfi` wakes for pending interrupts even then ("Wait for Interrupt"), so no
/// interrupt is missed.
pub fn wait_for_irqs() {
    // SAFETY: waiting has no effect.
    unsafe { asm!("wfi", options(nostack)) };
    enable_irqs();
    disable_irqs();
}

/// Sleeps for ever, with interrupts off.
pub fn halt() -> ! {
    disable_irqs();
    loop {
        // SAFETY: waiting has no effect.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}
