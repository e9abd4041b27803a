//! ArceOS's axalloc as published: pages, and the heap on top of them. Any bare
//! image that it is linked into has it as its global allocator, so it is here
//! alone.

use core::alloc::Layout;
use core::ptr::NonNull;

// Named for its feature: it makes the lock inside axalloc one.
use kspin_of_upstream as _;
use upstream_axalloc::{GlobalAllocator, UsageKind};

use crate::arena::Arena;
use crate::{HeapBench, PAGE_SIZE, PageBench, Visit};

/// The allocator, and the memory under it.
pub struct Axalloc {
    alloc: GlobalAllocator,
    _memory: Arena,
}

/// Shows it to `visitor`.
pub fn visit(visitor: &mut impl Visit) {
    let axalloc = Axalloc::new();
    visitor.pages("axalloc", &axalloc);
    visitor.heap("axalloc", &axalloc);
}

impl Axalloc {
    /// An allocator of its own.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let memory = Arena::new();
        let alloc = GlobalAllocator::new();
        alloc.init(memory.start(), memory.size());
        Self {
            alloc,
            _memory: memory,
        }
    }
}

impl PageBench for Axalloc {
    type Run = (usize, usize);

    fn frame(&self) -> Option<Self::Run> {
        self.frames(1, PAGE_SIZE)
    }

    fn frames(&self, count: usize, align: usize) -> Option<Self::Run> {
        let kind = UsageKind::Global;
        let start = self.alloc.alloc_pages(count, align, kind).ok()?;
        Some((start, count))
    }

    unsafe fn free(&self, (start, count): Self::Run) {
        self.alloc.dealloc_pages(start, count, UsageKind::Global);
    }
}

impl HeapBench for Axalloc {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.alloc.alloc(layout).ok()
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        self.alloc.dealloc(block, layout);
    }
}
