//! Our allocator on the host. Only this file of the crate uses its interface.
//!
//! The allocator keeps its frames and its heap in statics, so there is one in the process.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::Once;

use axalloc::{Frames as OurFrames, UsageKind, alloc_frame, alloc_frames, host};

use crate::{HeapBench, PageBench, Visit};

/// The physical address and the size of its memory, the same as in a guest.
const START: usize = 1 << 30;
const SIZE: usize = 128 << 20;

/// Our frame allocator, with memory.
pub struct Frames(());

/// Shows `visitor` our frame allocator and our heap, under the empty name.
pub fn visit(visitor: &mut impl Visit) {
    visitor.pages("", &Frames::new());
    visitor.heap("", &Heap);
}

impl Frames {
    /// Gives the allocator its memory when called for the first time.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static GIVEN: Once = Once::new();
        GIVEN.call_once(|| {
            if let Ok(memory) = host::physical_memory(START, SIZE) {
                // After an error the first load fails with `Exhausted`.
                // SAFETY: `physical_memory` has just mapped this memory, it is never
                // unmapped, and nothing else uses it.
                let _ = unsafe { axalloc::add_memory(&[memory]) };
            }
        });
        Self(())
    }
}

impl PageBench for Frames {
    type Run = OurFrames;

    #[inline(always)]
    fn frame(&self) -> Option<Self::Run> {
        alloc_frame(UsageKind::Global).ok()
    }

    fn frames(&self, count: usize, align: usize) -> Option<Self::Run> {
        alloc_frames(count, align, UsageKind::Global).ok()
    }

    #[inline(always)]
    unsafe fn free(&self, run: Self::Run) {
        drop(run);
    }
}

/// Our heap, which takes its memory from our frames.
struct Heap;

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: all loads ask for 8 bytes or more, so the layout's size is not zero.
        NonNull::new(unsafe { host::heap().alloc(layout) })
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises that `block` came from `alloc` with this layout.
        unsafe { host::heap().dealloc(block.as_ptr(), layout) };
    }
}
