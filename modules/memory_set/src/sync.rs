//! The atomics of this crate: the machine's, or those of a tool that tries many interleavings.
//!
//! `--cfg loom` chooses `loom` in this crate's own tests. `--cfg shuttle` chooses `shuttle`, also
//! for the tests of crates that use this one.

#[cfg(not(any(all(loom, test), shuttle)))]
pub use core::sync::atomic::{AtomicUsize, Ordering, fence};
#[cfg(all(loom, test))]
pub use loom::sync::atomic::{AtomicUsize, Ordering, fence};
#[cfg(all(shuttle, not(all(loom, test))))]
pub use shuttle::sync::atomic::{AtomicUsize, Ordering, fence};

/// The atomic under each word of a node. Shuttle switches threads at the sequence counters
/// only: a switch at each word would leave no time for the rest of a test.
#[cfg(not(all(loom, test)))]
pub type DataUsize = core::sync::atomic::AtomicUsize;
#[cfg(all(loom, test))]
pub type DataUsize = AtomicUsize;

/// Declares a function that is `const` except under loom, which makes no atomics in constants.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(all(loom, test)))]
        $(#[$meta])*
        $vis const fn $($rest)*
        #[cfg(all(loom, test))]
        $(#[$meta])*
        $vis fn $($rest)*
    };
}
pub(crate) use const_unless_loom;
