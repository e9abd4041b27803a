//! Loads for frame allocators and heaps, which are the same in a guest and on the host, and
//! other projects' allocators to compare with.
//!
//! - An allocator is a [`PageBench`] or a [`HeapBench`]. [`Nothing`] is both, and what a load
//!   costs on it is the load's own part.
//! - [`pages`] and [`heap`] hold the loads.
//! - [`peers`] holds other projects' allocators, each under the lock that a kernel would hold
//!   around it.
//! - `aspace` holds the address spaces that are measured on the host: ours, and one of two
//!   published crates.
//! - `threads` compares the work of two threads with that of one.
//! - On the host, `ours` adapts our allocator, `upstream` adapts ArceOS's axalloc, and `host`
//!   shows all allocators. In a guest the application adapts ours.
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

/// The size of a frame in bytes.
pub const PAGE_SIZE: usize = 4096;

/// A frame allocator under a load.
pub trait PageBench: Sync {
    /// A frame run that is taken.
    type Run;

    /// Takes one frame. `None` if there is no free one.
    fn frame(&self) -> Option<Self::Run>;

    /// Takes `count` contiguous frames, the first aligned to `align` bytes. `None` if there is
    /// no such run.
    fn frames(&self, count: usize, align: usize) -> Option<Self::Run>;

    /// Frees a frame run.
    ///
    /// # Safety
    ///
    /// `run` was taken from this allocator.
    unsafe fn free(&self, run: Self::Run);
}

/// A heap under a load.
pub trait HeapBench: Sync {
    /// Allocates a block. The layout's size is not 0. `None` if there is no memory.
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Frees a block.
    ///
    /// # Safety
    ///
    /// `block` was allocated by this heap with this layout, and has not been freed since.
    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout);
}

/// A visitor that is shown one allocator after the other.
pub trait Visit {
    /// Is shown a frame allocator, with its name; ours is the empty name.
    fn pages<A: PageBench>(&mut self, name: &str, alloc: &A);

    /// Is shown a heap, with its name; ours is the empty name.
    fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A);
}

/// The error of a load that is too large for its allocator: the allocator ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// The result of a load: the number of operations that it did.
pub type Done = Result<usize, Exhausted>;
