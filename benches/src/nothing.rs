//! An allocator that does nothing: what a load costs on it is the load's own part.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::{HeapBench, PageBench};

/// An allocator whose results may not be used as memory.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl PageBench for Nothing {
    type Run = (usize, usize);

    fn frame(&self) -> Option<Self::Run> {
        Some((0, 1))
    }

    fn frames(&self, count: usize, _: usize) -> Option<Self::Run> {
        Some((0, count))
    }

    unsafe fn free(&self, _: Self::Run) {}
}

impl HeapBench for Nothing {
    fn alloc(&self, _: Layout) -> Option<NonNull<u8>> {
        Some(NonNull::dangling())
    }

    unsafe fn dealloc(&self, _: NonNull<u8>, _: Layout) {}
}
