//! `rlsf` 0.2, with 28 size classes on its first level and 32 on its second.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use rlsf::Tlsf;

use super::Memory;
use super::lock::Lock;
use crate::HeapBench;

pub struct Heap(Lock<Tlsf<'static, u32, u32, 28, 32>>);

impl Heap {
    pub fn new(memory: Memory) -> Self {
        let mut tlsf = Tlsf::new();
        let block = ptr::slice_from_raw_parts_mut(memory.start as *mut u8, memory.size);
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller of `Memory::new` has promised that nothing else uses this
            // memory.
            unsafe { tlsf.insert_free_block_ptr(block) };
        }
        Self(Lock::new(tlsf))
    }
}

impl HeapBench for Heap {
    fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.lock().allocate(layout)
    }

    unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises that `block` came from `alloc` with this layout.
        unsafe { self.0.lock().deallocate(block, layout.align()) };
    }
}
