//! AArch64, exception level 1, 48-bit addresses in pages of 4 KiB. Section and
//! register names are those of the Arm Architecture Reference Manual for
//! A-profile architecture, DDI 0487.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
mod frame;
#[cfg(feature = "paging")]
mod icache;
mod interrupts;
#[cfg(feature = "paging")]
mod paging;
mod probe;
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
pub use interrupts::*;
#[cfg(feature = "paging")]
pub use paging::*;
pub use probe::{probe_execute, probe_read, probe_write};
#[cfg(feature = "uspace")]
pub use user_context::UserRegisters;
pub use zero::{init_zeroing, zero_pages};
