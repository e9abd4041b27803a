//! The buddy system (Knuth, The Art of Computer Programming, 2.5) over one range
//! of RAM.
//!
//! A block of order `k` is 2^k frames, aligned to its size. Free blocks of each
//! order are on a doubly linked list, whose links lie in the free blocks
//! themselves; a bit for each possible block says whether it is on one. So
//! taking, giving back, and merging with the other half are bounded by the
//! number of orders, and the bits cost 2 for each frame.

use core::ptr;

use axconfig::PAGE_SIZE;

/// Orders 0 (4 KiB) to 18 (1 GiB).
const ORDERS: usize = 19;

/// The links of a free block, in its first bytes. Null ends the list.
struct Links {
    prev: *mut Links,
    next: *mut Links,
}

/// One range of RAM, from which frames are handed out.
pub struct Buddy {
    start: usize,
    end: usize,
    free: usize,
    lists: [*mut Links; ORDERS],
    /// For each order, the bits of its blocks.
    bits: [*mut u64; ORDERS],
}

// SAFETY: the pointers lead into memory that this value owns.
unsafe impl Send for Buddy {}

const fn block_size(order: usize) -> usize {
    PAGE_SIZE << order
}

impl Buddy {
    /// A buddy system over the whole frames of the range, all free but the
    /// first few, which hold its bits. `None` if there is no room for those.
    ///
    /// # Safety
    ///
    /// The range is readable and writable memory that nobody else uses, for as
    /// long as the value exists.
    pub unsafe fn new(start: usize, size: usize) -> Option<Self> {
        let end = start.checked_add(size)? & !(PAGE_SIZE - 1);
        let start = start.checked_next_multiple_of(PAGE_SIZE)?;
        let mut new = Self {
            start,
            end,
            free: 0,
            lists: [ptr::null_mut(); ORDERS],
            bits: [ptr::null_mut(); ORDERS],
        };
        if start >= end {
            return None;
        }
        let mut words = start as *mut u64;
        for order in 0..ORDERS {
            let blocks = (end - 1) / block_size(order) - start / block_size(order) + 1;
            let count = blocks.div_ceil(64);
            new.bits[order] = words;
            let after = (words as usize).checked_add(count * 8)?;
            if after > end {
                return None;
            }
            // SAFETY: up to `after` the words lie in the range, which is ours.
            unsafe { words.write_bytes(0, count) };
            words = after as *mut u64;
        }
        let first = (words as usize).next_multiple_of(PAGE_SIZE);
        new.start = first.min(end);
        new.dealloc(new.start, (end - new.start) / PAGE_SIZE);
        Some(new)
    }

    /// How many frames can be handed out in all.
    pub fn total(&self) -> usize {
        (self.end - self.start) / PAGE_SIZE
    }

    /// How many frames are free.
    pub fn free(&self) -> usize {
        self.free
    }

    /// The frames of the largest free block.
    pub fn largest(&self) -> usize {
        let order = (0..ORDERS)
            .rev()
            .find(|&order| !self.lists[order].is_null());
        order.map_or(0, |order| 1 << order)
    }

    /// Whether the frame at `addr` is one of this range's.
    pub fn contains(&self, addr: usize) -> bool {
        (self.start..self.end).contains(&addr)
    }

    /// Takes `count` frames in one piece, aligned to `align` bytes.
    pub fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        let wanted = count.max(align / PAGE_SIZE).checked_next_power_of_two()?;
        let order = wanted.trailing_zeros() as usize;
        let found = (order..ORDERS).find(|&order| !self.lists[order].is_null())?;
        let addr = self.lists[found] as usize;
        self.unlink(addr, found);
        self.free -= 1 << found;
        // What is beyond the frames that were asked for goes back.
        self.dealloc(addr + count * PAGE_SIZE, (1 << found) - count);
        Some(addr)
    }

    /// Gives `count` frames from `addr` on back, as the largest blocks they
    /// make.
    pub fn dealloc(&mut self, mut addr: usize, mut count: usize) {
        self.free += count;
        while count > 0 {
            let aligned = (addr / PAGE_SIZE).trailing_zeros() as usize;
            let order = aligned.min(count.ilog2() as usize).min(ORDERS - 1);
            self.free_block(addr, order);
            addr += block_size(order);
            count -= 1 << order;
        }
    }

    /// Puts a block on its list, merged with its other half as long as that is
    /// free too.
    fn free_block(&mut self, mut addr: usize, mut order: usize) {
        debug_assert!(!self.is_free(addr, order), "{addr:#x} is freed twice");
        while order + 1 < ORDERS {
            let other = addr ^ block_size(order);
            let inside = other >= self.start && other + block_size(order) <= self.end;
            if !inside || !self.is_free(other, order) {
                break;
            }
            self.unlink(other, order);
            addr = addr.min(other);
            order += 1;
        }
        self.link(addr, order);
    }

    fn link(&mut self, addr: usize, order: usize) {
        let block = addr as *mut Links;
        let next = self.lists[order];
        // SAFETY: the block is free, so its bytes are ours; `next` is null or a
        // free block's links, by the same rule.
        unsafe {
            block.write(Links {
                prev: ptr::null_mut(),
                next,
            });
            if let Some(next) = next.as_mut() {
                next.prev = block;
            }
        }
        self.lists[order] = block;
        self.set_free(addr, order, true);
    }

    fn unlink(&mut self, addr: usize, order: usize) {
        // SAFETY: the block is on the list, so its bytes are ours and hold its
        // links, which are null or lead to other blocks of the list.
        unsafe {
            let Links { prev, next } = (addr as *mut Links).read();
            match prev.as_mut() {
                Some(prev) => prev.next = next,
                None => self.lists[order] = next,
            }
            if let Some(next) = next.as_mut() {
                next.prev = prev;
            }
        }
        self.set_free(addr, order, false);
    }

    /// Where the bit of the block is. The bits were laid out from the start of
    /// the whole range, whose frames begin with the bits themselves.
    fn bit(&self, addr: usize, order: usize) -> (*mut u64, u64) {
        let range_start = self.bits[0] as usize;
        let index = addr / block_size(order) - range_start / block_size(order);
        // SAFETY: `new` made room for a bit for every block of the range.
        (
            unsafe { self.bits[order].add(index / 64) },
            1 << (index % 64),
        )
    }

    fn is_free(&self, addr: usize, order: usize) -> bool {
        let (word, mask) = self.bit(addr, order);
        // SAFETY: `bit` leads to a word of ours.
        unsafe { *word & mask != 0 }
    }

    fn set_free(&mut self, addr: usize, order: usize, free: bool) {
        let (word, mask) = self.bit(addr, order);
        // SAFETY: `bit` leads to a word of ours.
        unsafe {
            match free {
                true => *word |= mask,
                false => *word &= !mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc, dealloc};
    use std::collections::BTreeMap;

    use super::*;

    /// Memory for a test, aligned to 4 MiB so that blocks of 2 MiB exist.
    struct Arena(*mut u8, Layout);

    impl Arena {
        fn new(size: usize) -> Self {
            let layout = Layout::from_size_align(size, 4 << 20).unwrap();
            // SAFETY: the size is not zero.
            Self(unsafe { alloc(layout) }, layout)
        }

        fn buddy(&self, skip: usize, size: usize) -> Buddy {
            // SAFETY: the range lies in the arena, which outlives the buddy.
            unsafe { Buddy::new(self.0 as usize + skip, size) }.unwrap()
        }
    }

    impl Drop for Arena {
        fn drop(&mut self) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.0, self.1) }
        }
    }

    #[test]
    fn all_of_a_range_is_handed_out_once_and_comes_back_whole() {
        let arena = Arena::new(16 << 20);
        for (skip, size) in [(0, 16 << 20), (5 * PAGE_SIZE, 11 << 20), (100, 3 << 20)] {
            let mut buddy = arena.buddy(skip, size);
            let largest = buddy.largest();
            let mut taken = Vec::new();
            while let Some(frame) = buddy.alloc(1, PAGE_SIZE) {
                assert!(frame >= arena.0 as usize + skip);
                assert!(frame + PAGE_SIZE <= arena.0 as usize + skip + size);
                taken.push(frame);
            }
            assert_eq!((taken.len(), buddy.free()), (buddy.total(), 0));
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), buddy.total());
            taken.iter().for_each(|&frame| buddy.dealloc(frame, 1));
            assert_eq!((buddy.free(), buddy.largest()), (buddy.total(), largest));
        }
    }

    #[test]
    fn runs_keep_apart_and_aligned_under_a_random_load() {
        let arena = Arena::new(16 << 20);
        let mut buddy = arena.buddy(0, 16 << 20);
        let (total, largest) = (buddy.total(), buddy.largest());
        let mut held: BTreeMap<usize, usize> = BTreeMap::new();
        let mut seed = 42_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for _ in 0..100_000 {
            if random(2) == 0 || held.is_empty() {
                let (count, align) = (1 + random(40), PAGE_SIZE << random(10));
                let Some(start) = buddy.alloc(count, align) else {
                    continue;
                };
                let end = start + count * PAGE_SIZE;
                assert_eq!(start % align, 0);
                let below = held.range(..end).next_back();
                assert!(below.is_none_or(|(s, n)| s + n * PAGE_SIZE <= start));
                held.insert(start, count);
            } else {
                let nth = random(held.len());
                let (&start, &count) = held.iter().nth(nth).unwrap();
                held.remove(&start);
                // In two pieces: a part of a run may go back before the rest.
                let part = random(count);
                buddy.dealloc(start + part * PAGE_SIZE, count - part);
                buddy.dealloc(start, part);
            }
            assert_eq!(buddy.free() + held.values().sum::<usize>(), total);
        }
        held.iter()
            .for_each(|(&start, &count)| buddy.dealloc(start, count));
        assert_eq!((buddy.free(), buddy.largest()), (total, largest));
    }

    #[test]
    fn what_cannot_be_had_is_none() {
        let arena = Arena::new(4 << 20);
        let mut buddy = arena.buddy(0, 4 << 20);
        assert_eq!(buddy.alloc(1024, PAGE_SIZE), None);
        assert_eq!(buddy.alloc(1, 1 << 40), None);
        assert_eq!(buddy.alloc(usize::MAX, PAGE_SIZE), None);
        assert_eq!(buddy.free(), buddy.total());
        // SAFETY: nothing is there to be used.
        assert!(unsafe { Buddy::new(arena.0 as usize, 100) }.is_none());
    }
}
