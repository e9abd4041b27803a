//! The allocator of ASIDs.
//!
//! A TLB holds translations of many address spaces, each marked with its ASID (on x86_64,
//! PCID). So a hart flushes nothing when it enters another address space. An address space
//! gets an id when a hart first enters it. The id is one word:
//!
//! ```text
//!   63           16 15      0
//!   │  generation  │  ASID  │
//! ```
//!
//! ASIDs are given out in ascending order. After the largest one, the next generation begins,
//! and all ids of older generations become invalid. Each hart remembers the latest generation
//! that it has seen. When it enters an address space of a newer generation, it first flushes its
//! whole TLB. So one ASID may belong to different address spaces on different harts, but to one
//! address space on each hart.

use crate::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// The number of bits of an ASID, at most.
const ASID_BITS: u32 = 16;
const ASID_MASK: u64 = (1 << ASID_BITS) - 1;

/// Returns the ASID of an id.
pub fn asid(id: u64) -> usize {
    (id & ASID_MASK) as usize
}

/// Returns the generation of an id.
pub fn generation(id: u64) -> u64 {
    id >> ASID_BITS
}

/// The ASIDs of one machine.
pub struct AsidAllocator {
    /// The id that was given out last: the generation and the ASID.
    last: AtomicU64,
    /// The largest ASID. 0 on a machine without ASIDs.
    max: AtomicU64,
}

impl AsidAllocator {
    /// Returns an allocator of the ASIDs from 1 to `max`, all free. With `max` 0 the machine
    /// has no ASIDs, and all address spaces have the ASID 0.
    #[cfg(not(all(loom, test)))]
    pub const fn new(max: usize) -> Self {
        Self {
            last: AtomicU64::new(1 << ASID_BITS),
            max: AtomicU64::new(max as u64),
        }
    }

    /// Returns an allocator of the ASIDs from 1 to `max`, all free. Loom's atomics have no
    /// constant constructor.
    #[cfg(all(loom, test))]
    pub fn new(max: usize) -> Self {
        Self {
            last: AtomicU64::new(1 << ASID_BITS),
            max: AtomicU64::new(max as u64),
        }
    }

    /// Sets the largest ASID. Called once, before the first ASID is allocated.
    pub fn set_max(&self, max: usize) {
        // Relaxed: the caller runs before other harts are started.
        self.max.store(max as u64 & ASID_MASK, Relaxed);
    }

    /// Returns whether the machine has no ASIDs.
    pub(super) fn is_without_asids(&self) -> bool {
        // Relaxed: `max` is set before other harts are started.
        self.max.load(Relaxed) == 0
    }

    /// Returns whether `id` is of the current generation. For some time after a generation has
    /// begun, a hart may still take the one before for the current one.
    pub(super) fn is_current(&self, id: u64) -> bool {
        // Relaxed: a hart reads the values of one word in the order in which they were stored. So
        // the generations that it sees never decrease. It flushes its whole TLB before it uses an
        // ASID of a generation that is new to it.
        generation(id) == generation(self.last.load(Relaxed))
    }

    /// Returns an id that no address space of the current generation has.
    pub(super) fn allocate(&self) -> u64 {
        // Relaxed: `max` is set before other harts are started.
        let max = self.max.load(Relaxed);
        // The ASID after the largest is 1 in the next generation, or 0 without ASIDs.
        let next = |last| match last & ASID_MASK < max {
            true => last + 1,
            false => (last | ASID_MASK) + 1 + max.min(1),
        };
        let before = self
            .last
            .fetch_update(SeqCst, SeqCst, |last| Some(next(last)));
        // The closure always returns `Some`, so both cases have the value from before.
        next(before.unwrap_or_else(|last| last))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn asids_go_from_1_to_the_largest_that_is_set_and_begin_again() {
        let asids = AsidAllocator::new(0);
        asids.set_max(3);
        let numbers: Vec<usize> = (0..7).map(|_| asid(asids.allocate())).collect();
        assert_eq!(numbers, [1, 2, 3, 1, 2, 3, 1]);
    }
}
