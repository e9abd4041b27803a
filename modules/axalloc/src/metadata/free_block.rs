//! The record of a free block's first frame: a link of the list of free blocks.
//!
//! All accesses are relaxed. The fields of a free block's record are read and written under the
//! lock of the global pool, which orders them. `is_free` also reads records of other states.

use super::layout::{FREE, FrameMeta, LINK_SHIFT, ORDER_MASK, TAG_MASK};
use crate::atomic::Ordering;

impl FrameMeta {
    /// Returns whether a free block of `order` begins with this frame.
    ///
    /// The caller holds the lock of the global pool. If the frame is not free, its owners may
    /// change the record meanwhile without that lock. They never set the tag of a free block,
    /// so this returns `false` whichever of their values it reads.
    #[inline]
    pub(crate) fn is_free(&self, order: usize) -> bool {
        self.lower.load(Ordering::Relaxed) & TAG_MASK == FREE
            && self.upper.load(Ordering::Relaxed) & ORDER_MASK == order as u32
    }

    /// Returns the free blocks before and after this one on its list, as frame numbers.
    pub(crate) fn links(&self) -> (u32, u32) {
        let prev = self.lower.load(Ordering::Relaxed) >> LINK_SHIFT;
        (prev, self.upper.load(Ordering::Relaxed) >> LINK_SHIFT)
    }

    /// Makes this the first frame of a free block, which comes after `prev` on its list.
    pub(crate) fn set_prev(&self, prev: u32) {
        self.lower
            .store(prev << LINK_SHIFT | FREE, Ordering::Relaxed);
    }

    /// Sets the order of the free block that begins here, and the block after it on its list.
    pub(crate) fn set_next(&self, next: u32, order: usize) {
        let upper = next << LINK_SHIFT | order as u32;
        self.upper.store(upper, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::metadata::{FrameMeta, NO_FRAME, Released};

    #[test]
    fn a_free_block_is_read_as_it_was_written() {
        for (order, prev, next) in [
            (0, 0, NO_FRAME),
            (24, NO_FRAME, 0),
            (18, NO_FRAME - 1, 12345),
        ] {
            let meta = FrameMeta::new();
            meta.set_prev(prev);
            meta.set_next(next, order);
            assert_eq!(meta.links(), (prev, next));
            assert!(meta.is_free(order) && !meta.is_free(order + 1));
            assert_eq!(meta.counted(), None);
            assert_eq!(meta.share(), None);
            assert_eq!(meta.release(), Released::NotCounted);
            meta.clear();
            assert!(!meta.is_free(order));
        }
    }
}
