//! What threads share, and how they wait for each other.
//!
//! Who waits is asleep, and others run on its hart. Locks do not become poisoned, for
//! a panic is the machine's end: so, as in ArceOS, `lock`, `read`, `write` and `wait`
//! answer with the guard itself where `std` answers with a `Result`.

#[cfg(feature = "multitask")]
mod barrier;
#[cfg(feature = "multitask")]
mod condvar;
#[cfg(feature = "multitask")]
mod mutex;
#[cfg(feature = "multitask")]
mod once;
#[cfg(feature = "multitask")]
mod rwlock;

#[cfg(feature = "alloc")]
pub use alloc::sync::{Arc, Weak};
pub use core::sync::atomic;

#[cfg(feature = "multitask")]
pub use barrier::{Barrier, BarrierWaitResult};
#[cfg(feature = "multitask")]
pub use condvar::{Condvar, WaitTimeoutResult};
#[cfg(feature = "multitask")]
pub use mutex::{Mutex, MutexGuard, RawMutex};
#[cfg(feature = "multitask")]
pub use once::{Once, OnceLock};
#[cfg(feature = "multitask")]
pub use rwlock::{RawRwLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
