//! One frame's metadata record, and the bits of its two words.

use crate::atomic::{AtomicU32, Ordering};
use crate::usage::UsageKind;

/// The frame number that means "no frame". All frames have smaller numbers, which covers
/// 512 GiB of physical addresses.
#[cfg(not(all(loom, test)))]
pub(crate) const NO_FRAME: u32 = (1 << 27) - 1;

/// The tags, in the two lowest bits of the lower word.
#[cfg(not(all(loom, test)))]
pub(super) const FREE: u32 = 1;
pub(super) const COUNTED: u32 = 2;
pub(super) const LISTED: u32 = 3;
pub(super) const TAG_MASK: u32 = 3;

/// Where the usage kind of a counted or listed run begins in the lower word.
pub(super) const KIND_SHIFT: u32 = 2;
pub(super) const KIND_MASK: u32 = (UsageKind::COUNT as u32 - 1) << KIND_SHIFT;

/// Where the number of frames of a counted run begins in the lower word. Bit 5 is not used.
pub(super) const FRAMES_SHIFT: u32 = 6;

/// Where `prev` and `next` begin: above the order, or above the kind and the tag.
pub(super) const LINK_SHIFT: u32 = 5;
#[cfg(not(all(loom, test)))]
pub(super) const ORDER_MASK: u32 = (1 << LINK_SHIFT) - 1;

/// The metadata record of one frame. A record of zeroes is that of a frame
/// that begins no block and no run.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct FrameMeta {
    pub(super) lower: AtomicU32,
    pub(super) upper: AtomicU32,
}

impl FrameMeta {
    /// The record of a frame that begins no block and no run.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self {
            lower: AtomicU32::new(0),
            upper: AtomicU32::new(0),
        }
    }

    /// Makes this the record of a frame that begins no block and no run.
    ///
    /// Relaxed: the caller owns the block or run, and passes its frames on through a lock or
    /// a magazine, which order this store.
    pub(crate) fn clear(&self) {
        self.lower.store(0, Ordering::Relaxed);
    }
}

/// The lower word of a counted run of `count` frames.
pub(super) fn counted_run(kind: UsageKind, count: usize) -> u32 {
    (count as u32) << FRAMES_SHIFT | (kind as u32) << KIND_SHIFT | COUNTED
}
