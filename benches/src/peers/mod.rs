//! Other people's allocators, one file a crate.
//!
//! Each is driven as a kernel would: under a spin lock that keeps interrupts out
//! (`kspin::SpinNoIrq`, the one our allocator uses), so that the lock and the
//! guard are part of what is measured. On the host the guard does nothing.

mod axallocator;
mod bitmap_allocator;
mod buddy_system_allocator;
mod lock;
mod rlsf;
mod talc;

use crate::{PAGE_SIZE, Visit};

/// How much of the memory the heaps get.
const HEAP: usize = 4 << 20;

/// Memory that is nobody else's.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    start: usize,
    size: usize,
}

impl Memory {
    /// The `size` bytes at `start`, both multiples of 2 MiB, `size` at least 4 MiB.
    ///
    /// # Safety
    ///
    /// The bytes can be read and written, and are nobody else's, for as long as
    /// this value or an allocator over it is used.
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

/// Shows `visitor` every peer, one after the other over the same memory.
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

    /// Puts every load on each.
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
    fn every_peer_bears_every_load() {
        let arena = Arena::new();
        // SAFETY: the arena is nobody else's and outlives the visit.
        let memory = unsafe { Memory::new(arena.start(), arena.size()) };
        let mut loads = Loads(0);
        visit(memory, &mut loads);
        assert_eq!(loads.0, 9);
    }
}
