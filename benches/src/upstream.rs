//! ArceOS's axalloc as published: pages, and the heap on top of them. It declares itself the
//! global allocator of any bare image, so it is measured only on the host.

use core::alloc::Layout;
use core::ptr::NonNull;

// Only a dependency for its feature `smp`: without it the locks inside axalloc do not lock.
use kspin_of_upstream as _;
use upstream_axalloc::{GlobalAllocator, UsageKind};

use crate::arena::Arena;
use crate::{HeapBench, PAGE_SIZE, PageBench, Visit};

/// The allocator, and the memory that it uses.
pub struct Axalloc {
    alloc: GlobalAllocator,
    _memory: Arena,
}

/// Shows `visitor` the allocator, as frame allocator and as heap.
pub fn visit(visitor: &mut impl Visit) {
    let axalloc = Axalloc::new();
    visitor.pages("axalloc", &axalloc);
    visitor.heap("axalloc", &axalloc);
}

impl Axalloc {
    /// Makes an allocator with an arena of its own.
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
