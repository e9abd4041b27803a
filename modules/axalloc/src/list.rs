//! Rows of single frames on their way back, as many as there are, without memory
//! for it: each leads to the next by the word of its first frame.
//!
//! Whoever takes frames away must often keep them until nobody reaches them any
//! more, and must not fail meanwhile. What is in the frames is not touched; they
//! stay in use, and are counted as before, until the list goes.

use core::fmt;
use core::mem;

use crate::row::FrameRow;
use crate::whole::FRAMES;
use crate::word::{NIL, Word};

/// Any number of rows of single frames. When dropped, each frame goes back that has
/// no other owner.
pub struct FrameList {
    /// What came last, and may become longer: it needs no word. Empty if nothing did.
    last: FrameRow,
    /// The first frame of the row before it, or [`NIL`].
    before: u32,
}

impl FrameList {
    /// No row.
    pub const fn new() -> Self {
        Self {
            last: FrameRow::EMPTY,
            before: NIL,
        }
    }

    /// Adds a row, in a few instructions. One that follows the last becomes a part of it.
    ///
    /// # Errors
    ///
    /// `row`, if the last row begins with a frame that has other owners
    /// ([`SharedFrames`](crate::SharedFrames)), who need its word, or is nobody's: then
    /// no row can come behind it. An empty list takes any row.
    #[inline]
    pub fn push(&mut self, row: FrameRow) -> Result<(), FrameRow> {
        let Err(row) = self.last.append(row) else {
            return Ok(());
        };
        let FrameRow { first, count } = self.last;
        if count > 0 {
            let word = FRAMES.word(first as usize);
            if !word.is_some_and(|word| word.list(count, self.before)) {
                return Err(row);
            }
            self.before = first;
        }
        mem::forget(mem::replace(&mut self.last, row));
        Ok(())
    }

    /// Takes out at most `most` frames, at least one. `None` if there is none.
    #[inline(never)]
    pub fn pop(&mut self, most: usize) -> Option<FrameRow> {
        let most = most.clamp(1, u32::MAX as usize) as u32;
        if self.last.count > most {
            self.last.count -= most;
            let first = self.last.first + self.last.count;
            return Some(FrameRow { first, count: most });
        }
        // No frame has the number that stands for none.
        let word = FRAMES.word(self.before as usize);
        let next = match word.and_then(Word::unlist) {
            Some((count, before)) => {
                let first = mem::replace(&mut self.before, before);
                FrameRow { first, count }
            }
            None => FrameRow::EMPTY,
        };
        let row = mem::replace(&mut self.last, next);
        (row.count > 0).then_some(row)
    }
}

impl Default for FrameList {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FrameList {
    #[inline]
    fn drop(&mut self) {
        while let Some(row) = self.pop(usize::MAX) {
            drop(row);
        }
    }
}

impl fmt::Debug for FrameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of frames, the last {:?}", self.last)
    }
}
