//! Sharing data between threads, and waiting for other threads, as in `std::sync`.
//!
//! While a thread waits, other threads run on its hart. Locks are never poisoned, because a
//! panic ends the machine. Where `std` returns a `Result` with the guard, `lock`, `read`,
//! `write` and `wait` therefore return the guard itself, as in ArceOS.

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
