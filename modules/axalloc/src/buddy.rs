//! The buddy system (Knuth, The Art of Computer Programming, 2.5) over all RAM.
//!
//! A block of order `k` is 2^k frames, aligned to its size. The free blocks of each order are on
//! a doubly linked list through their frames' [metadata](crate::metadata). The metadata also
//! tells of any frame whether a free block begins there.
//!
//! So the time to allocate, free and merge is bounded by the number of orders. Holes between
//! ranges of RAM need no special case, since a hole contains no free block.

use crate::metadata::{FrameMeta, MetadataTable, NO_FRAME};

/// The number of orders: 0 (4 KiB) to 24 (64 GiB).
pub(crate) const ORDERS: usize = 25;

/// The lists of free blocks. All frames that are passed to a method have metadata in the
/// table that is passed along.
pub(crate) struct Buddy {
    /// The first block of each order's list, or [`NO_FRAME`].
    lists: [u32; ORDERS],
    /// A bit for each order whose list has blocks.
    non_empty: u32,
}

impl Buddy {
    /// A buddy system without any free block.
    pub(crate) const fn new() -> Self {
        Self {
            lists: [NO_FRAME; ORDERS],
            non_empty: 0,
        }
    }

    /// Returns the number of frames of the largest free block, 0 if there is no free block.
    pub(crate) fn largest(&self) -> usize {
        self.non_empty.checked_ilog2().map_or(0, |order| 1 << order)
    }

    /// Takes `count` contiguous frames. The number of the first is a multiple of `align`, which
    /// is a power of two.
    ///
    /// Returns the number of the first frame, or `None` if no free block is large enough.
    pub(crate) fn alloc(
        &mut self,
        table: &MetadataTable,
        count: usize,
        align: usize,
    ) -> Option<usize> {
        let order = count.max(align).checked_next_power_of_two()?.ilog2() as usize;
        let frame = self.take(table, order)?;
        // The rest of the block is freed.
        self.dealloc(table, frame + count, (1 << order) - count);
        Some(frame)
    }

    /// Takes a block of the smallest order that has any, and splits it if that order is above
    /// `order`.
    ///
    /// Returns the block's first frame and its order, which is at most `order`.
    pub(crate) fn alloc_at_most(
        &mut self,
        table: &MetadataTable,
        order: usize,
    ) -> Option<(usize, usize)> {
        let smallest = self.non_empty.trailing_zeros() as usize;
        let order = order.min(smallest);
        Some((self.take(table, order)?, order))
    }

    /// Takes a block of `order`. If its list is empty, splits the smallest larger block.
    fn take(&mut self, table: &MetadataTable, order: usize) -> Option<usize> {
        let large_enough = self.non_empty.checked_shr(order as u32)? << order;
        let mut taken = large_enough.trailing_zeros() as usize;
        let frame = *self.lists.get(taken)? as usize;
        self.unlink(table, table.get(frame)?, taken);
        // Each step frees the upper half of the taken block.
        while taken > order {
            taken -= 1;
            self.link(table, frame + (1 << taken), taken);
        }
        Some(frame)
    }

    /// Frees `count` frames from `frame` on. They become the largest aligned blocks that they
    /// make, each merged with its free buddies.
    pub(crate) fn dealloc(&mut self, table: &MetadataTable, mut frame: usize, mut count: usize) {
        while count > 0 {
            let aligned = frame.trailing_zeros().min(ORDERS as u32 - 1);
            let order = aligned.min(count.ilog2()) as usize;
            self.merge(table, frame, order);
            frame += 1 << order;
            count -= 1 << order;
        }
    }

    /// Merges a block with its buddy for as long as the buddy is free, and links the result.
    fn merge(&mut self, table: &MetadataTable, mut frame: usize, mut order: usize) {
        while order + 1 < ORDERS {
            let buddy = table.get(frame ^ 1 << order);
            let Some(buddy) = buddy.filter(|meta| meta.is_free(order)) else {
                break;
            };
            self.unlink(table, buddy, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.link(table, frame, order);
    }

    /// Puts a block at the beginning of its order's list.
    fn link(&mut self, table: &MetadataTable, frame: usize, order: usize) {
        let next = self.lists[order];
        if let Some(meta) = table.get(frame) {
            meta.set_prev(NO_FRAME);
            meta.set_next(next, order);
            self.lists[order] = frame as u32;
            self.non_empty |= 1 << order;
        }
        if let Some(meta) = linked(table, next) {
            meta.set_prev(frame as u32);
        }
    }

    /// Takes the block with the metadata `meta` off its order's list.
    fn unlink(&mut self, table: &MetadataTable, meta: &FrameMeta, order: usize) {
        let (prev, next) = meta.links();
        meta.clear();
        if let Some(meta) = linked(table, next) {
            meta.set_prev(prev);
        }
        if let Some(meta) = linked(table, prev) {
            meta.set_next(next, order);
            return;
        }
        self.lists[order] = next;
        if next == NO_FRAME {
            self.non_empty &= !(1 << order);
        }
    }
}

/// Returns the metadata of the frame that a link names, or `None` for [`NO_FRAME`].
fn linked(table: &MetadataTable, frame: u32) -> Option<&FrameMeta> {
    match frame {
        NO_FRAME => None,
        frame => table.get(frame as usize),
    }
}

#[cfg(test)]
pub(crate) mod tests;
