//! [`FrameList`]: frame runs that wait to be freed. It needs no memory of its own.
//!
//! An unmap must not free frames until all harts have flushed their translations, and must not
//! fail meanwhile. So the runs are linked through the metadata of their first frames. The
//! frames themselves are not written. They stay in use, and are counted as before, until the
//! list is dropped.

use core::fmt;
use core::mem;

use crate::frame_run::FrameRun;
use crate::machine::FRAMES;
use crate::metadata::{FrameMeta, NO_FRAME};

/// A list of any number of runs of single frames. When this is dropped, each frame that has no
/// other owner is freed.
pub struct FrameList {
    /// The run that was pushed last, to which the next may be appended. It is not linked yet:
    /// its frames' metadata says that they are single frames. Empty only if the list is empty.
    last: FrameRun,
    /// The first frame of the run that was pushed before `last`, or [`NO_FRAME`]. Its record
    /// links to the run that was pushed before it, and so on.
    before: u32,
}

impl FrameList {
    /// Makes an empty list.
    pub const fn new() -> Self {
        Self {
            last: FrameRun::EMPTY,
            before: NO_FRAME,
        }
    }

    /// Adds a run, in a few instructions. If it begins where the last run ends, it is appended
    /// to that one.
    ///
    /// # Errors
    ///
    /// Returns `run` if the last run cannot be linked, because the metadata of its first frame
    /// is in use: the frame has other owners ([`SharedFrames`](crate::SharedFrames)). It also
    /// fails if the frame was wrongly freed by other code. An empty list takes any run.
    #[inline]
    pub fn push(&mut self, run: FrameRun) -> Result<(), FrameRun> {
        let Err(run) = self.last.append(run) else {
            return Ok(());
        };
        if run.count == 0 {
            return Ok(());
        }
        let FrameRun { first, count } = self.last;
        if count > 0 {
            let meta = FRAMES.meta(first as usize);
            if !meta.is_some_and(|meta| meta.list(count, self.before)) {
                return Err(run);
            }
            self.before = first;
        }
        mem::forget(mem::replace(&mut self.last, run));
        Ok(())
    }

    /// Takes out up to `most` contiguous frames, and at least one. Returns `None` if the list
    /// is empty.
    #[inline(never)]
    pub fn pop(&mut self, most: usize) -> Option<FrameRun> {
        let most = most.clamp(1, u32::MAX as usize) as u32;
        if self.last.count > most {
            self.last.count -= most;
            let first = self.last.first + self.last.count;
            return Some(FrameRun { first, count: most });
        }
        // `NO_FRAME` has no metadata, so this is `None` if `last` is the only run.
        let meta = FRAMES.meta(self.before as usize);
        let next = match meta.and_then(FrameMeta::unlist) {
            Some((count, before)) => {
                let first = mem::replace(&mut self.before, before);
                FrameRun { first, count }
            }
            None => FrameRun::EMPTY,
        };
        let run = mem::replace(&mut self.last, next);
        (run.count > 0).then_some(run)
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
        while let Some(run) = self.pop(usize::MAX) {
            drop(run);
        }
    }
}

impl fmt::Debug for FrameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame runs, the last {:?}", self.last)
    }
}
