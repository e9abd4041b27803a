//! LoongArch, privilege level 0, 48-bit addresses. Section names are those of
//! the LoongArch Reference Manual, volume 1, version 1.10.
//!
//! The hardware does not walk page tables: the trap vector refills the TLB, from
//! the first translated instruction on ([`refill`]). There is no direct mapping window, so
//! the page table checks every access.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
pub(crate) mod csr;
mod frame;
#[cfg(feature = "paging")]
mod icache;
mod interrupts;
#[cfg(feature = "paging")]
mod paging;
mod probe;
mod refill;
#[cfg(feature = "uspace")]
mod user_context;
mod zero;

#[cfg(feature = "multitask")]
pub use context::*;
#[cfg(feature = "paging")]
pub use copy::{probe_copy, probe_copy_end};
pub use frame::{TrapFrame, capture};
#[cfg(feature = "paging")]
pub use icache::*;
pub(crate) use interrupts::past_idle;
pub use interrupts::{
    IPI_IRQ, IrqsOff, TIMER_IRQ, disable_irqs, enable_irqs, halt, irqs_enabled, wait_for_irqs,
};
#[cfg(feature = "paging")]
pub use paging::*;
pub use probe::{probe_execute, probe_read, probe_write};
pub(crate) use refill::REFUSED_FETCH;
#[cfg(feature = "uspace")]
pub use user_context::UserRegisters;
pub use zero::{init_zeroing, zero_pages};
