//! `buddy_system_allocator` 0.13: its frame allocator, which keeps its sets of free blocks on
//! the global heap, and its heap.

use core::alloc::Layout;
use core::ptr::NonNull;

use buddy_system_allocator::FrameAllocator;

use super::Memory;
use super::lock::Lock;
use crate::{HeapBench, PAGE_SIZE, PageBench};

pub struct Frames(Lock<FrameAllocator>);

impl Frames {
    pub fn new(memory: Memory) -> Self {
        let mut frames = FrameAllocator::new();
        let start = memory.start / PAGE_SIZE;
        frames.add_frame(start, start + memory.frames());
        Self(Lock::new(frames))
    }
}

impl PageBench for Frames {
    type Run = (usize, usize);

    fn frame(&self) -> Option<Self::Run> {
        Some((self.0.lock().alloc(1)?, 1))
    }

    fn frames(&self, count: usize, align: usize) -> Option<Self::Run> {
        // The allocator aligns a block to its size, so a larger block is aligned enough.
        let count = count.max(align / PAGE_SIZE);
        Some((self.0.lock().alloc(count)?, count))
    }

    unsafe fn free(&self, (start, count): Self::Run) {
        self.0.lock().dealloc(start, count);
    }
}

pub struct Heap(Lock<buddy_system_allocator::Heap<32>>);

impl Heap {
    pub fn new(memory: Memory) -> Self {
        let mut heap = buddy_system_allocator::Heap::new();
        // SAFETY: the caller of `Memory::new` has promised that nothing else uses this memory.
        unsafe { heap.init(memory.start, memory.size) };
        Self(Lock::new(heap))
    }
}

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.lock().alloc(layout).ok()
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises that `block` came from `alloc` with this layout.
        unsafe { self.0.lock().dealloc(block, layout) };
    }
}
