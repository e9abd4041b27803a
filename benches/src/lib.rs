//! Loads for frame allocators and heaps, the same in a guest and on the host, and
//! other people's allocators to put them on.
//!
//! - An allocator is a [`PageBench`] or a [`HeapBench`]; [`Nothing`] is both, and
//!   what a load costs on it is the load's own part.
//! - [`pages`] and [`heap`] have the loads.
//! - [`peers`] has the allocators that are not ours, each under the lock that a
//!   kernel would hold around it.
//! - `aspace` has the address spaces of the host, ours and another.
//! - `threads` has what two threads get done beside one.
//! - On the host, `ours` is the one file that knows our allocator, `upstream` has
//!   the axalloc of ArceOS, and `host` shows them all. In a guest the application
//!   brings ours along.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

#[cfg(not(target_os = "none"))]
pub mod arena;
#[cfg(not(target_os = "none"))]
pub mod aspace;
pub mod heap;
#[cfg(all(feature = "peers", not(target_os = "none")))]
pub mod host;
mod nothing;
#[cfg(not(target_os = "none"))]
pub mod ours;
pub mod pages;
#[cfg(feature = "peers")]
pub mod peers;
mod script;
#[cfg(not(target_os = "none"))]
pub mod threads;
#[cfg(not(target_os = "none"))]
pub mod upstream;

use core::alloc::Layout;
use core::ptr::NonNull;

pub use nothing::Nothing;
pub use script::Script;

/// Bytes of a frame.
pub const PAGE_SIZE: usize = 4096;

/// A frame allocator under a load. `None` where it has no more.
pub trait PageBench: Sync {
    /// What stands for frames that are taken.
    type Run;

    /// Takes one frame.
    fn frame(&self) -> Option<Self::Run>;

    /// Takes `count` frames in one piece, the first aligned to `align` bytes.
    fn frames(&self, count: usize, align: usize) -> Option<Self::Run>;

    /// Gives frames back.
    ///
    /// # Safety
    ///
    /// `run` is from this very allocator.
    unsafe fn free(&self, run: Self::Run);
}

/// A heap under a load. `None` where it has no more.
pub trait HeapBench: Sync {
    /// Takes a block.
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Gives a block back.
    ///
    /// # Safety
    ///
    /// `block` was taken from this very heap with this layout, and not given back
    /// since.
    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout);
}

/// Someone to be shown one allocator after the other.
pub trait Visit {
    /// A frame allocator.
    fn pages<A: PageBench>(&mut self, name: &str, alloc: &A);

    /// A heap.
    fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A);
}

/// An allocator had no more: the load is too large for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// How many operations a load did.
pub type Done = Result<usize, Exhausted>;
