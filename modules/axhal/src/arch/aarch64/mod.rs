//! AArch64, exception level 1, 48-bit addresses in pages of 4 KiB. Section and
//! register names are those of the Arm Architecture Reference Manual for
//! A-profile architecture, DDI 0487.

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

use aarch64_cpu::asm::{barrier, wfi};
use aarch64_cpu::registers::{DAIF, Readable};

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

/// Software-generated interrupt 0 of the interrupt controller.
pub const IPI_IRQ: usize = 0;
/// The virtual timer's private peripheral interrupt.
pub const TIMER_IRQ: usize = 27;

/// `PSTATE.I`, as an operand of `msr daifset` and `msr daifclr`.
const PSTATE_I: usize = 0b0010;

/// Lets interrupts in.
pub fn enable_irqs() {
    // SAFETY: the trap vector is set before anything enables interrupts.
    unsafe { asm!("msr daifclr, {}", const PSTATE_I, options(nostack)) };
}

/// Keeps interrupts out.
pub fn disable_irqs() {
    // SAFETY: keeping interrupts out breaks nothing.
    unsafe { asm!("msr daifset, {}", const PSTATE_I, options(nostack)) };
}

/// Whether interrupts are let in.
pub fn irqs_enabled() -> bool {
    !DAIF.is_set(DAIF::I)
}

/// Sleeps until an interrupt is pending, and lets it in. Called and returns
/// with interrupts off; `wfi` wakes for pending interrupts all the same ("Wait
/// for Interrupt"), so none is slept through.
pub fn wait_for_irqs() {
    // What was written before is on its way while this hart sleeps.
    barrier::dsb(barrier::SY);
    wfi();
    enable_irqs();
    // An interrupt that is pending is taken here at the latest.
    barrier::isb(barrier::SY);
    disable_irqs();
}

/// Sleeps for ever, deaf.
pub fn halt() -> ! {
    disable_irqs();
    loop {
        wfi();
    }
}
