//! x86-64, ring 0, four-level paging. Section numbers are those of volume 3 of
//! Intel's Software Developer's Manual ("SDM") in its edition of 2024.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
mod descriptors;
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

/// The vector of calls from other harts.
pub const IPI_IRQ: usize = 0x21;
/// The vector of this hart's timer.
pub const TIMER_IRQ: usize = 0x20;

/// `rflags.IF`: interrupts as a whole.
const RFLAGS_IF: usize = 1 << 9;

/// Lets interrupts in.
pub fn enable_irqs() {
    // SAFETY: the interrupt table is loaded before anything enables interrupts.
    unsafe { asm!("sti", options(nostack)) };
}

/// Keeps interrupts out.
pub fn disable_irqs() {
    // SAFETY: keeping interrupts out breaks nothing.
    unsafe { asm!("cli", options(nostack)) };
}

/// Whether interrupts are let in.
pub fn irqs_enabled() -> bool {
    let rflags: usize;
    // SAFETY: reading the register changes nothing but the stack's free part.
    unsafe { asm!("pushfq", "pop {}", out(reg) rflags) };
    rflags & RFLAGS_IF != 0
}

/// Sleeps until an interrupt is pending, and lets it in. Called and returns
/// with interrupts off; `sti` lets none in before the instruction behind it has
/// begun (SDM volume 2, "STI"), so none is slept through.
pub fn wait_for_irqs() {
    // SAFETY: as in `enable_irqs`; waiting changes nothing.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Sleeps for ever, deaf.
pub fn halt() -> ! {
    loop {
        // SAFETY: keeping interrupts out and waiting break nothing.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
