//! Memory for the unit tests, many of which run at the same time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Once;

use axalloc::fault::FailingHeap;

#[global_allocator]
static HEAP: FailingHeap<Counting> = FailingHeap(Counting);

/// The system's allocator, which counts the blocks of each thread.
struct Counting;

std::thread_local! {
    /// The number of blocks that this thread has allocated, less those that it has freed.
    static BLOCKS: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every block comes from the system's allocator and goes back to it, with the layout
// that the caller gives. The count changes nothing of that.
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

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: this function requires of its caller what `System.realloc` requires.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Returns the number of heap blocks that this thread has allocated, less those that it has
/// freed.
pub fn blocks() -> isize {
    BLOCKS.get()
}

/// Adds 16 MiB of frames to the allocator. Only the first call does it.
pub fn add_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let memory = axalloc::host::physical_memory(1 << 30, 16 << 20).unwrap();
        // SAFETY: the memory has just been mapped for this call, and is never unmapped.
        unsafe { axalloc::add_memory(&[memory]) }.unwrap();
        crate::init_zero_frame().unwrap();
    });
}
