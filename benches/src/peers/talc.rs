//! `talc` 5: its heap, over memory that is added by hand.

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
        // SAFETY: the caller of `Memory::new` has promised that nothing else uses this memory.
        unsafe { talc.claim(memory.start as *mut u8, memory.size) };
        Self(Lock::new(talc))
    }
}

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: all loads ask for 8 bytes or more, so the layout's size is not zero.
        unsafe { self.0.lock().allocate(layout) }
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises that `block` came from `alloc` with this layout.
        unsafe { self.0.lock().deallocate(block.as_ptr(), layout) };
    }
}
