//! The atomics of [`shootdown`](crate::shootdown).
//!
//! An image uses those of `core`. Under `loom` a test runs in every interleaving and in
//! every memory order that the C11 model allows. Under `shuttle` it runs in many random
//! schedules, which is feasible for tests that are too large for loom.

#[cfg(not(any(loom, shuttle)))]
pub use core::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};
#[cfg(loom)]
pub use loom::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread::yield_now as spin_loop,
};
#[cfg(shuttle)]
pub use shuttle::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};
