//! `bitmap-allocator` 0.4, with a bitmap for 256 MiB of frames.

use bitmap_allocator::{BitAlloc, BitAlloc64K};

use super::Memory;
use super::lock::Lock;
use crate::{PAGE_SIZE, PageBench};

pub struct Bits(Lock<BitAlloc64K>);

impl Bits {
    pub fn new(memory: Memory) -> Self {
        let mut bits = BitAlloc64K::DEFAULT;
        bits.insert(0..memory.frames().min(BitAlloc64K::CAP));
        Self(Lock::new(bits))
    }
}

impl PageBench for Bits {
    type Run = (usize, usize);

    fn frame(&self) -> Option<Self::Run> {
        Some((self.0.lock().alloc()?, 1))
    }

    fn frames(&self, count: usize, align: usize) -> Option<Self::Run> {
        let align = (align / PAGE_SIZE).trailing_zeros() as usize;
        let start = self.0.lock().alloc_contiguous(None, count, align)?;
        Some((start, count))
    }

    unsafe fn free(&self, (start, count): Self::Run) {
        match count {
            1 => self.0.lock().dealloc(start),
            count => self.0.lock().dealloc_contiguous(start, count),
        };
    }
}
