//! Our allocator on the host: the one file here that knows its interface.
//!
//! It has its frames and its heap in statics.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::Once;

use axalloc::{Frames as OurFrames, UsageKind, alloc_frame, alloc_frames, host};

use crate::{HeapBench, PageBench, Visit};

/// Where the memory lies, and how much there is: as a guest's.
const START: usize = 1 << 30;
const SIZE: usize = 128 << 20;

/// Our frames.
pub struct Frames(());

/// Shows `visitor` what there is of ours.
pub fn visit(visitor: &mut impl Visit) {
    visitor.pages("", &Frames::new());
    visitor.heap("", &Heap);
}

impl Frames {
    /// Our frames, given memory for good the first time.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        static GIVEN: Once = Once::new();
        GIVEN.call_once(|| {
            if let Ok(memory) = host::physical_memory(START, SIZE) {
                // SAFETY: mapped for this alone, and for good. Where it is not
                // there or is refused, the first load is out of memory.
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

/// Our heap, over our frames.
struct Heap;

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no load asks for nothing.
        NonNull::new(unsafe { host::heap().alloc(layout) })
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { host::heap().dealloc(block.as_ptr(), layout) };
    }
}
