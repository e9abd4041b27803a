//! This hart's interrupts as a whole.

use core::arch::asm;

/// A guard that keeps interrupts off while it exists.
pub use kernel_guard::IrqSave as IrqsOff;

/// The vector of interrupts from other harts.
pub const IPI_IRQ: usize = 0x21;
/// The vector of this hart's timer.
pub const TIMER_IRQ: usize = 0x20;

/// `rflags.IF`: interrupts as a whole.
pub(super) const RFLAGS_IF: usize = 1 << 9;

/// Turns interrupts on.
pub fn enable_irqs() {
    // SAFETY: the interrupt table is loaded before any code turns interrupts on.
    unsafe { asm!("sti", options(nostack)) };
}

/// Turns interrupts off.
pub fn disable_irqs() {
    // SAFETY: turning interrupts off affects no memory.
    unsafe { asm!("cli", options(nostack)) };
}

/// Returns whether interrupts are on.
pub fn irqs_enabled() -> bool {
    let rflags: usize;
    // SAFETY: it reads the register, and writes only to the free part of the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) rflags) };
    rflags & RFLAGS_IF != 0
}

/// Sleeps until an interrupt is pending, and takes it. Called and returns with interrupts
/// off. `sti` takes no interrupt before the next instruction has begun (SDM volume 2, "STI"),
/// so no interrupt is missed.
pub fn wait_for_irqs() {
    // SAFETY: the interrupt table is loaded before any code waits for interrupts, and waiting
    // has no effect.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Sleeps for ever, with interrupts off.
pub fn halt() -> ! {
    loop {
        // SAFETY: turning interrupts off and waiting affect no memory.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
