//! The atomics of what many harts do at the same time: the machine's, or those of
//! `shuttle`, which tries many schedules of a test, one step of one atomic at a time.

#[cfg(not(shuttle))]
pub use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicU64, Ordering};
