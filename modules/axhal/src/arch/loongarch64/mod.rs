//! LoongArch, privilege level 0, 48-bit addresses. Section names are those of
//! the LoongArch Reference Manual, volume 1, version 1.10.
//!
//! The hardware does not walk page tables: the trap vector refills the TLB, from
//! the first translated instruction on ([`refill`]). No direct mapping window is
//! left open, so that every access is checked by the page table.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
mod csr;
mod icache;
mod irqs;
mod paging;
mod probe;
mod refill;
mod trap;
mod zero;

#[cfg(feature = "multitask")]
pub use context::*;
#[cfg(feature = "paging")]
pub use copy::probe_copy;
#[cfg(feature = "paging")]
pub use icache::*;
pub use irqs::{
    IPI_IRQ, IrqsOff, TIMER_IRQ, disable_irqs, enable_irqs, halt, irqs_enabled, wait_for_irqs,
};
#[cfg(feature = "paging")]
pub use paging::*;
pub use probe::{probe_execute, probe_read, probe_write};
pub(crate) use trap::init_trap;
pub use trap::{TrapFrame, capture};
pub use zero::{init_zeroing, zero_pages};
