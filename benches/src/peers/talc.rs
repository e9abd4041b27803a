//! `talc` 5.

use core::alloc::Layout;
use core::ptr::NonNull;

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use super::Memory;
use super::lock::Lock;
use crate::HeapBench;

pub struct Heap(Lock<Talc<Manual, DefaultBinning>>);

impl Heap {
    pub fn new(memory: Memory) -> Self {
        let mut talc = Talc::new(Manual);
        // SAFETY: nobody else's, as `Memory::new` was promised.
        unsafe { talc.claim(memory.start as *mut u8, memory.size) };
        Self(Lock::new(talc))
    }
}

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no load asks for nothing.
        unsafe { self.0.lock().allocate(layout) }
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.lock().deallocate(block.as_ptr(), layout) };
    }
}
