//! RISC-V, supervisor mode, Sv39. Section names are those of the RISC-V
//! Privileged Architecture, version 1.13.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
mod icache;
mod paging;
mod probe;
mod trap;
mod zero;

use core::arch::asm;

#[cfg(feature = "multitask")]
pub use context::*;
#[cfg(feature = "paging")]
pub use copy::probe_copy;
#[cfg(feature = "paging")]
pub use icache::*;
/// Keeps interrupts out as long as it lives.
pub use kernel_guard::IrqSave as IrqsOff;
#[cfg(feature = "paging")]
pub use paging::*;
pub use probe::{probe_execute, probe_read, probe_write};
pub(crate) use trap::init_trap;
pub use trap::{TrapFrame, capture};
pub use zero::{init_zeroing, zero_pages};

/// Supervisor software interrupt ("Supervisor Cause Register").
pub const IPI_IRQ: usize = 1;
/// Supervisor timer interrupt.
pub const TIMER_IRQ: usize = 5;

/// `sstatus.SIE`: interrupts as a whole.
const SSTATUS_SIE: usize = 1 << 1;

/// Lets interrupts in.
pub fn enable_irqs() {
    // SAFETY: the trap vector is set before anything enables interrupts.
    unsafe { asm!("csrsi sstatus, {}", const SSTATUS_SIE, options(nostack)) };
}

/// Keeps interrupts out.
pub fn disable_irqs() {
    // SAFETY: keeping interrupts out breaks nothing.
    unsafe { asm!("csrci sstatus, {}", const SSTATUS_SIE, options(nostack)) };
}

/// Whether interrupts are let in.
pub fn irqs_enabled() -> bool {
    let sstatus: usize;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("csrr {}, sstatus", out(reg) sstatus, options(nomem, nostack)) };
    sstatus & SSTATUS_SIE != 0
}

/// Sleeps until an interrupt is pending, and lets it in. Called and returns
/// with interrupts off; `wfi` wakes for pending interrupts all the same ("Wait
/// for Interrupt"), so none is slept through.
pub fn wait_for_irqs() {
    // SAFETY: waiting changes nothing.
    unsafe { asm!("wfi", options(nostack)) };
    enable_irqs();
    disable_irqs();
}

/// Sleeps for ever, deaf.
pub fn halt() -> ! {
    disable_irqs();
    loop {
        // SAFETY: waiting changes nothing.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}
