//! The atomics of the part without locks: the machine's; those of `loom`, which tries
//! every interleaving of a test, and every order that memory may have; or those of
//! `shuttle`, which tries many schedules of tests too large for that.

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
