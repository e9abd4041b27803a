//! Memory objects.
//!
//! - [`operations`]: what each operation does and refuses;
//! - [`kinds`]: contiguous and physical objects, slices, pins and handles;
//! - [`model`]: random operations on many objects, each compared with a flat map of its pages;
//! - [`forests`]: deep and broad trees of snapshots, dropped in several orders;
//! - [`failures`]: each allocation of each operation fails in turn;
//! - [`harts`]: several harts at once.

mod failures;
mod forests;
mod harts;
mod kinds;
mod model;
mod operations;
#[path = "../support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use axalloc::fault::FailingHeap;
use axalloc::{UsageKind, usage};
use axerrno::{AxError, AxResult};
use axmm::PhysAddr;
use axmm::vmo::Access;
use axmm_machines::X64;

/// An object of a machine with one hart. Objects have nothing to do with a page-table format.
type Vmo = axmm::vmo::Vmo<X64>;

const TIB: usize = 1 << 40;

#[global_allocator]
static HEAP: FailingHeap<Counting> = FailingHeap(Counting);

/// The system's heap, which counts the blocks of each thread.
struct Counting;

thread_local! {
    /// The number of blocks that this thread has allocated, less those that it has freed.
    static BLOCKS: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every block comes from the system's heap and goes back to it, with the layout that the
// caller gives.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.set(BLOCKS.get() + 1);
        // SAFETY: this function requires of its caller what `System.alloc` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS.set(BLOCKS.get() - 1);
        // SAFETY: this function requires of its caller what `System.dealloc` requires.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Returns the number of heap blocks that this thread has allocated, less those that it has freed.
fn blocks() -> isize {
    BLOCKS.get()
}

/// Returns the number of frames that objects have.
fn frames() -> usize {
    usage().of(UsageKind::Object)
}

/// Returns the byte at `offset`.
fn byte(object: &Vmo, offset: usize) -> u8 {
    let mut byte = [0];
    object.read(offset, &mut byte).unwrap();
    byte[0]
}

/// Returns the frame of the page at `offset`.
fn frame(object: &Vmo, offset: usize, access: Access) -> PhysAddr {
    object.request(offset, access).unwrap().frame
}

/// Returns the error of an operation that must fail.
fn refused<T>(result: AxResult<T>) -> AxError {
    result.err().unwrap()
}
