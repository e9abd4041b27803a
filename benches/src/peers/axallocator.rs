//! `axallocator` 0.2, the crate under ArceOS's axalloc: its page allocator and its
//! three byte allocators.

use core::alloc::Layout;
use core::ptr::NonNull;

use axallocator::{
    BitmapPageAllocator, BuddyByteAllocator, ByteAllocator, PageAllocator, SlabByteAllocator,
    TlsfByteAllocator,
};

use super::Memory;
use super::lock::Lock;
use crate::{HeapBench, PAGE_SIZE, PageBench};

/// One of the crate's page allocators.
pub struct Pages<A>(Lock<A>);

/// One of the crate's byte allocators.
pub struct Bytes<A>(Lock<A>);

pub fn bitmap(memory: Memory) -> Pages<BitmapPageAllocator<PAGE_SIZE>> {
    Pages(started(BitmapPageAllocator::new(), memory))
}

pub fn tlsf(memory: Memory) -> Bytes<TlsfByteAllocator> {
    Bytes(started(TlsfByteAllocator::new(), memory))
}

pub fn slab(memory: Memory) -> Bytes<SlabByteAllocator> {
    Bytes(started(SlabByteAllocator::new(), memory))
}

pub fn buddy(memory: Memory) -> Bytes<BuddyByteAllocator> {
    Bytes(started(BuddyByteAllocator::new(), memory))
}

/// Returns the allocator with all of the memory. The caller of `Memory::new` has promised that
/// nothing else uses it.
fn started<A: axallocator::BaseAllocator>(mut alloc: A, memory: Memory) -> Lock<A> {
    alloc.init(memory.start, memory.size);
    Lock::new(alloc)
}

impl<A: PageAllocator + Send> PageBench for Pages<A> {
    type Run = (usize, usize);

    fn frame(&self) -> Option<Self::Run> {
        self.frames(1, PAGE_SIZE)
    }

    fn frames(&self, count: usize, align: usize) -> Option<Self::Run> {
        let start = self.0.lock().alloc_pages(count, align).ok()?;
        Some((start, count))
    }

    unsafe fn free(&self, (start, count): Self::Run) {
        self.0.lock().dealloc_pages(start, count);
    }
}

impl<A: ByteAllocator + Send> HeapBench for Bytes<A> {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.lock().alloc(layout).ok()
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        self.0.lock().dealloc(block, layout);
    }
}
