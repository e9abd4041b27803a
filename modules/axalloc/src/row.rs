//! Single frames in a row, each in other hands by itself: as a page table has
//! them. They come and go in one piece, for a few instructions each.

use core::fmt;
use core::mem;
use core::ops::Range;

use axconfig::PAGE_SIZE;
use memory_addr::PhysAddr;

use crate::frames::{Frames, release};
use crate::whole::FRAMES;
use crate::word::{Held, NIL, Word};

/// One owner's part of each of many single frames in a row. When dropped, each
/// frame goes back that has no other owner.
pub struct FrameRow {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl FrameRow {
    /// No frame, and none that follows.
    pub(crate) const EMPTY: Self = Self {
        first: NIL,
        count: 0,
    };

    /// The physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.first as usize * PAGE_SIZE)
    }

    /// How many frames.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    fn frames(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.count()
    }

    /// Makes `next` a part of this row.
    ///
    /// # Errors
    ///
    /// `next`, if it does not follow this one.
    #[inline]
    pub fn append(&mut self, next: Self) -> Result<(), Self> {
        if self.first + self.count != next.first {
            return Err(next);
        }
        self.count += next.count;
        mem::forget(next);
        Ok(())
    }

    /// Gives the row into other hands, such as a page table's. Each frame goes back
    /// by itself, or any row of them by [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> PhysAddr {
        let start = self.start();
        mem::forget(self);
        start
    }

    /// Takes one owner's part of each of `count` frames from `start` on back from
    /// other hands.
    ///
    /// # Safety
    ///
    /// Each was given away by itself, as a frame of a row or a run of one frame, and
    /// has not been taken back since.
    #[inline]
    pub unsafe fn from_raw(start: PhysAddr, count: usize) -> Self {
        Self {
            first: (start.as_usize() / PAGE_SIZE) as u32,
            count: count as u32,
        }
    }
}

impl From<Frames> for FrameRow {
    /// Makes each frame of a run one by itself.
    fn from(run: Frames) -> Self {
        let held = Held {
            kind: run.kind(),
            count: 1,
        };
        // SAFETY: each frame is given away by itself right here.
        let row = unsafe { Self::from_raw(run.start(), run.count()) };
        mem::forget(run);
        let mut rest = row.frames();
        while let words @ [_, ..] = FRAMES.row(rest.clone()) {
            words.iter().for_each(|word| word.hold(held));
            rest.start += words.len();
        }
        row
    }
}

impl Drop for FrameRow {
    fn drop(&mut self) {
        let mut rest = self.frames();
        while !rest.is_empty() {
            rest.start += match Word::release_singles(FRAMES.row(rest.clone())) {
                Some((kind, count)) => {
                    Frames::new(rest.start, count, kind).free_singly();
                    count
                }
                None => {
                    drop(release(rest.start as u32));
                    1
                }
            };
        }
    }
}

impl fmt::Debug for FrameRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, start) = (self.count, self.start());
        write!(f, "{count} single frames from {start:#x} on")
    }
}
