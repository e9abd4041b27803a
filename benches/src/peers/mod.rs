//! Other projects' allocators, with one file for each crate.
//!
//! Each is used as in a kernel: under a spin lock that disables interrupts. It is the lock that
//! our allocator uses, `kspin::SpinNoIrq`. So the lock is part of what is measured. On the
//! host it does not disable interrupts.

mod axallocator;
mod bitmap_allocator;
mod buddy_system_allocator;
mod lock;
mod rlsf;
mod talc;

use crate::{PAGE_SIZE, Visit};

/// How much of the memory the heaps use, in bytes.
const HEAP: usize = 4 << 20;

/// Memory that the allocators may use exclusively.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    start: usize,
    size: usize,
}

impl Memory {
    /// Describes the `size` bytes at the address `start`. Both are multiples of 2 MiB, and
    /// `size` is 4 MiB or more.
    ///
    /// # Safety
    ///
    /// The bytes can be read and written, and are not used by anything else, while this value
    /// or an allocator over it is used.
    pub unsafe fn new(start: usize, size: usize) -> Self {
        Self { start, size }
    }

    fn heap(self) -> Self {
        Self {
            size: self.size.min(HEAP),
            ..self
        }
    }

    fn frames(self) -> usize {
        self.size / PAGE_SIZE
    }
}

/// Shows `visitor` every allocator. They use the same memory, one after the other.
pub fn visit(memory: Memory, visitor: &mut impl Visit) {
    visitor.pages(
        "buddy_system_allocator",
        &buddy_system_allocator::Frames::new(memory),
    );
    visitor.pages("bitmap-allocator", &bitmap_allocator::Bits::new(memory));
    visitor.pages("axallocator-bitmap", &axallocator::bitmap(memory));

    let memory = memory.heap();
    visitor.heap("talc", &talc::Heap::new(memory));
    visitor.heap("rlsf", &rlsf::Heap::new(memory));
    visitor.heap(
        "buddy_system_allocator",
        &buddy_system_allocator::Heap::new(memory),
    );
    visitor.heap("axallocator-tlsf", &axallocator::tlsf(memory));
    visitor.heap("axallocator-slab", &axallocator::slab(memory));
    visitor.heap("axallocator-buddy", &axallocator::buddy(memory));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::{HeapBench, PageBench, heap, pages};

    /// Runs every load on each allocator, and counts the allocators.
    struct Loads(usize);

    impl Visit for Loads {
        fn pages<A: PageBench>(&mut self, name: &str, alloc: &A) {
            assert_eq!(pages::frame_pairs(alloc, 10), Ok(10), "{name}");
            assert_eq!(pages::large_pairs(alloc, 2), Ok(2), "{name}");
            let load = pages::script(1, 1000);
            assert!(pages::random(alloc, &load).is_ok(), "{name}");
            self.0 += 1;
        }

        fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A) {
            assert_eq!(heap::small_pairs(alloc, 10), Ok(10), "{name}");
            let load = heap::script(1, 5000);
            assert!(heap::random(alloc, &load).is_ok(), "{name}");
            self.0 += 1;
        }
    }

    #[test]
    fn every_allocator_runs_every_load() {
        let arena = Arena::new();
        // SAFETY: this test owns the arena and gives its memory only to `visit`, whose
        // allocators are dropped before the arena is.
        let memory = unsafe { Memory::new(arena.start(), arena.size()) };
        let mut loads = Loads(0);
        visit(memory, &mut loads);
        assert_eq!(loads.0, 9);
    }
}
