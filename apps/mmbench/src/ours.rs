//! How our frames and our heap are asked for: the one file here that knows.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

use axbench::{HeapBench, PageBench};
use axstd::memory::{AxResult, Frames, UsageKind, alloc_frame, alloc_frame_zeroed, alloc_frames};

/// One frame.
#[inline(always)]
pub fn frame() -> AxResult<Frames> {
    alloc_frame(UsageKind::Global)
}

/// One frame of zeroes.
#[inline(always)]
pub fn frame_zeroed() -> AxResult<Frames> {
    alloc_frame_zeroed(UsageKind::Global)
}

/// `count` frames in one piece, the first aligned to `align` bytes.
pub fn frames(count: usize, align: usize) -> AxResult<Frames> {
    alloc_frames(count, align, UsageKind::Global)
}

/// Our frame allocator.
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

/// Our frame allocator, each single frame filled with zeroes.
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

/// Our heap, the global allocator.
pub struct Heap;

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no load asks for nothing.
        NonNull::new(unsafe { alloc(layout) })
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}
