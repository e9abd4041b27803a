//! RISC-V, supervisor mode, Sv39. Section names are those of the RISC-V
//! Privileged Architecture, version 1.13.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
mod float;
#[cfg(any(feature = "multitask", feature = "uspace"))]
mod float_registers;
mod frame;
#[cfg(feature = "paging")]
mod icache;
mod interrupts;
#[cfg(feature = "paging")]
mod paging;
mod probe;
#[cfg(feature = "paging")]
mod remote;
#[cfg(feature = "uspace")]
mod user_context;
mod zero;

#[cfg(feature = "multitask")]
pub use context::*;
#[cfg(feature = "paging")]
pub use copy::{probe_copy, probe_copy_end};
pub(crate) use float::keep_float;
pub use frame::{TrapFrame, capture};
#[cfg(feature = "paging")]
pub use icache::*;
pub use interrupts::*;
#[cfg(feature = "paging")]
pub use paging::*;
pub use probe::{probe_execute, probe_read, probe_write};
#[cfg(feature = "uspace")]
pub use user_context::*;
pub use zero::{init_zeroing, zero_pages};
