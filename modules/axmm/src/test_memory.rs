//! Memory for the unit tests, which run side by side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Once;

use axalloc::fault::FailingHeap;

#[global_allocator]
static HEAP: FailingHeap<Counting> = FailingHeap(Counting);

/// The system's allocator, which counts.
struct Counting;

std::thread_local! {
    /// Blocks that this thread has allocated, less those that it has freed.
    static BLOCKS: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: all is the system allocator's. A block that is reallocated stays one.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.set(BLOCKS.get() + 1);
        // SAFETY: the caller's promise is this function's requirement.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS.set(BLOCKS.get() - 1);
        // SAFETY: the caller's promise is this function's requirement.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is this function's requirement.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Blocks of the heap that this thread has allocated, less those that it has freed.
pub fn blocks() -> isize {
    BLOCKS.get()
}

/// Gives 16 MiB to the allocator, unless it has them.
pub fn give() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let memory = axalloc::host::physical_memory(1 << 30, 16 << 20).unwrap();
        // SAFETY: mapped for this alone, and for good.
        unsafe { axalloc::add_memory(&[memory]) }.unwrap();
    });
}
