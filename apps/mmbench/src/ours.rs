//! Tessera's frame allocator and heap, for the loads. Other files do not call them directly.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

use axbench::{HeapBench, PageBench};
use axstd::memory::{AxResult, Frames, UsageKind, alloc_frame, alloc_frame_zeroed, alloc_frames};

/// Allocates one frame, with any contents.
#[inline(always)]
pub fn frame() -> AxResult<Frames> {
    alloc_frame(UsageKind::Global)
}

/// Allocates one frame, filled with zeroes.
#[inline(always)]
pub fn frame_zeroed() -> AxResult<Frames> {
    alloc_frame_zeroed(UsageKind::Global)
}

/// Allocates a frame run of `count` frames, aligned to `align` bytes.
pub fn frames(count: usize, align: usize) -> AxResult<Frames> {
    alloc_frames(count, align, UsageKind::Global)
}

/// Tessera's frame allocator.
pub struct Pages;

impl PageBench for Pages {
    type Run = Frames;

    #[inline(always)]
    fn frame(&self) -> Option<Frames> {
        frame().ok()
    }

    fn frames(&self, count: usize, align: usize) -> Option<Frames> {
        frames(count, align).ok()
    }

    #[inline(always)]
    unsafe fn free(&self, run: Frames) {
        drop(run);
    }
}

/// Tessera's frame allocator, with each single frame filled with zeroes.
pub struct ZeroedPages;

impl PageBench for ZeroedPages {
    type Run = Frames;

    #[inline(always)]
    fn frame(&self) -> Option<Frames> {
        frame_zeroed().ok()
    }

    fn frames(&self, count: usize, align: usize) -> Option<Frames> {
        frames(count, align).ok()
    }

    #[inline(always)]
    unsafe fn free(&self, run: Frames) {
        drop(run);
    }
}

/// Tessera's heap, which is the global allocator.
pub struct Heap;

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the loads allocate blocks of 1 byte or more, so that the size is not zero.
        NonNull::new(unsafe { alloc(layout) })
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller guarantees that `alloc` returned this block for this layout, and that
        // it does not use the block again.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}
