//! The buddy system (Knuth, The Art of Computer Programming, 2.5) over all RAM.
//!
//! A block of order `k` is 2^k frames, aligned to its size. Free blocks of each
//! order are on a doubly linked list through their frames' [words](crate::word),
//! which also say of any frame whether a free block begins there. So taking,
//! giving back, and merging with the other half are bounded by the number of
//! orders; and holes between ranges of RAM need no care, as no free block begins
//! in one.

use crate::word::{NIL, Word};
use crate::words::Words;

/// Orders 0 (4 KiB) to 24 (64 GiB).
pub const ORDERS: usize = 25;

/// The free blocks. Their frames have words.
pub struct Buddy {
    /// The first block of each order's list, or [`NIL`].
    lists: [u32; ORDERS],
    /// A bit for each order that has any.
    orders: u32,
}

impl Buddy {
    /// No free block.
    pub const fn new() -> Self {
        Self {
            lists: [NIL; ORDERS],
            orders: 0,
        }
    }

    /// The frames of the largest free block.
    pub fn largest(&self) -> usize {
        self.orders.checked_ilog2().map_or(0, |order| 1 << order)
    }

    /// Takes `count` frames in one piece, the first a multiple of `align`, which
    /// is a power of two.
    pub fn alloc(&mut self, words: &Words, count: usize, align: usize) -> Option<usize> {
        let order = count.max(align).checked_next_power_of_two()?.ilog2() as usize;
        let frame = self.take(words, order)?;
        // What is beyond the frames that were asked for goes back.
        self.dealloc(words, frame + count, (1 << order) - count);
        Some(frame)
    }

    /// Takes a block of the smallest order there is, at most `order`, or the half
    /// of a larger one, and its half, until it is that small. Answers with its
    /// first frame and its order.
    pub fn alloc_at_most(&mut self, words: &Words, order: usize) -> Option<(usize, usize)> {
        let smallest = self.orders.trailing_zeros() as usize;
        let order = order.min(smallest);
        Some((self.take(words, order)?, order))
    }

    /// Takes a block of `order`, the half of a larger one if there is none.
    fn take(&mut self, words: &Words, order: usize) -> Option<usize> {
        let large_enough = self.orders.checked_shr(order as u32)? << order;
        let mut found = large_enough.trailing_zeros() as usize;
        let frame = *self.lists.get(found)? as usize;
        self.unlink(words, words.get(frame)?, found);
        while found > order {
            found -= 1;
            self.link(words, frame + (1 << found), found);
        }
        Some(frame)
    }

    /// Gives `count` frames from `frame` on back, as the largest blocks they
    /// make.
    pub fn dealloc(&mut self, words: &Words, mut frame: usize, mut count: usize) {
        while count > 0 {
            let aligned = frame.trailing_zeros().min(ORDERS as u32 - 1);
            let order = aligned.min(count.ilog2()) as usize;
            self.merge(words, frame, order);
            frame += 1 << order;
            count -= 1 << order;
        }
    }

    /// Puts a block on its list, merged with its other half as long as that is
    /// free too.
    fn merge(&mut self, words: &Words, mut frame: usize, mut order: usize) {
        while order + 1 < ORDERS {
            let other = words.get(frame ^ 1 << order);
            let Some(other) = other.filter(|word| word.is_free(order)) else {
                break;
            };
            self.unlink(words, other, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.link(words, frame, order);
    }

    fn link(&mut self, words: &Words, frame: usize, order: usize) {
        let next = self.lists[order];
        if let Some(word) = words.get(frame) {
            word.set_prev(NIL);
            word.set_next(next, order);
            self.lists[order] = frame as u32;
            self.orders |= 1 << order;
        }
        if let Some(word) = linked(words, next) {
            word.set_prev(frame as u32);
        }
    }

    fn unlink(&mut self, words: &Words, word: &Word, order: usize) {
        let (prev, next) = word.links();
        word.clear();
        if let Some(word) = linked(words, next) {
            word.set_prev(prev);
        }
        if let Some(word) = linked(words, prev) {
            word.set_next(next, order);
            return;
        }
        self.lists[order] = next;
        if next == NIL {
            self.orders &= !(1 << order);
        }
    }
}

/// The word of a frame that a link leads to.
fn linked(words: &Words, frame: u32) -> Option<&Word> {
    match frame {
        NIL => None,
        frame => words.get(frame as usize),
    }
}

#[cfg(test)]
pub mod tests;
