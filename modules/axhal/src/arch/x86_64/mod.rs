//! x86-64, ring 0, four-level paging. Section numbers are those of volume 3 of
//! Intel's Software Developer's Manual ("SDM") in its edition of 2024.

#[cfg(feature = "multitask")]
mod context;
#[cfg(feature = "paging")]
mod copy;
pub(crate) mod descriptors;
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
pub(crate) use frame::PRESERVED;
pub use frame::{TrapFrame, capture};
#[cfg(feature = "paging")]
pub use icache::*;
pub use interrupts::*;
#[cfg(feature = "paging")]
pub use paging::*;
pub use probe::{probe_execute, probe_read, probe_write};
#[cfg(feature = "uspace")]
pub use user_context::UserRegisters;
#[cfg(feature = "uspace")]
pub(crate) use user_context::{USER_CODE, USER_DATA};
pub use zero::{init_zeroing, zero_pages};
