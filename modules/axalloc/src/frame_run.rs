//! [`FrameRun`]: contiguous single frames, each with a reference count of its own.
//!
//! A page table owns frames that way: it maps pages one by one, and each may be shared or freed
//! by itself. A run of them is passed on and freed in one piece, for a few instructions a frame.
//! The difference to [`Frames`] is that a `Frames` has one owner for the run as a whole.

use core::fmt;
use core::mem;
use core::ops::Range;

use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use crate::frames::{Frames, release};
use crate::machine::FRAMES;
use crate::metadata::{CountedRun, FrameMeta, NO_FRAME};

/// One reference to each of a number of contiguous single frames. When this is dropped, each
/// frame that has no other reference is freed.
pub struct FrameRun {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl FrameRun {
    /// A run of no frames, which no other run can be appended to.
    pub(crate) const EMPTY: Self = Self {
        first: NO_FRAME,
        count: 0,
    };

    /// Returns the physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.first as usize * PAGE_SIZE)
    }

    /// Returns the number of frames.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    fn frames(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.count()
    }

    /// Appends `next` to this run.
    ///
    /// # Errors
    ///
    /// Returns `next` if it does not begin where this run ends.
    #[inline]
    pub fn append(&mut self, next: Self) -> Result<(), Self> {
        if self.first + self.count != next.first {
            return Err(next);
        }
        self.count += next.count;
        mem::forget(next);
        Ok(())
    }

    /// Adds a reference to each frame, and returns these references as a run of their own.
    ///
    /// # Errors
    ///
    /// Returns `ResourceBusy` if a frame has 2^31 references. Then no frame has another reference
    /// than before.
    pub fn share(&self) -> AxResult<Self> {
        let mut shared = Self {
            count: 0,
            first: self.first,
        };
        // A run that crosses a boundary of the metadata's arrays has several slices of records.
        while shared.count < self.count {
            let rest = self.frames().start + shared.count()..self.frames().end;
            let records = FRAMES.meta_slice(rest);
            let count = FrameMeta::share_singles(records);
            shared.count += count as u32;
            if count == 0 || count < records.len() {
                return Err(AxError::ResourceBusy);
            }
        }
        Ok(shared)
    }

    /// Adds a reference to the only frame of this run, and returns it as a run of its own.
    ///
    /// # Errors
    ///
    /// Returns `ResourceBusy` if the frame has [too many](Self::share) references.
    #[inline]
    pub fn share_one(&self) -> AxResult<Self> {
        debug_assert_eq!(self.count, 1);
        let meta: Option<&FrameMeta> = FRAMES.meta(self.first as usize);
        match meta.is_some_and(FrameMeta::share_single) {
            true => Ok(Self {
                first: self.first,
                count: self.count,
            }),
            false => Err(AxError::ResourceBusy),
        }
    }

    /// Returns whether this is the only reference to each of its frames. No other code can add one
    /// then.
    #[inline]
    pub fn is_exclusive(&self) -> bool {
        let is_exclusive = |frame| {
            let meta: Option<&FrameMeta> = FRAMES.meta(frame);
            meta.is_some_and(FrameMeta::is_single_and_exclusive)
        };
        self.frames().all(is_exclusive)
    }

    /// Returns the number of frames at the start of the run that have no other reference. No other
    /// code can add one then.
    pub fn count_exclusive(&self) -> usize {
        let mut count = 0;
        // A run that crosses a boundary of the metadata's arrays has several slices of records.
        while count < self.count() {
            let rest = self.frames().start + count..self.frames().end;
            let records = FRAMES.meta_slice(rest);
            let is_exclusive = |meta: &&FrameMeta| meta.is_single_and_exclusive();
            let exclusive = records.iter().take_while(is_exclusive).count();
            count += exclusive;
            if exclusive == 0 || exclusive < records.len() {
                break;
            }
        }
        count
    }

    /// Turns the run into the address of its first frame. From now on the reference to each
    /// frame belongs to that frame's address. This is for code that keeps only addresses, such
    /// as a page table.
    ///
    /// The frames are freed one by one with [`Frames::from_raw`], or as runs of any length with
    /// [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> PhysAddr {
        let start = self.start();
        mem::forget(self);
        start
    }

    /// Turns the addresses of `count` single frames, from `start` on, back into a run.
    ///
    /// # Safety
    ///
    /// Each frame was turned into an address as a single frame: as a frame of a `FrameRun`, or
    /// as a run of one frame. Its address has not been turned back since.
    #[inline]
    pub unsafe fn from_raw(start: PhysAddr, count: usize) -> Self {
        Self {
            first: (start.as_usize() / PAGE_SIZE) as u32,
            count: count as u32,
        }
    }
}

impl From<Frames> for FrameRun {
    /// Makes each frame of a run a single frame.
    fn from(frames: Frames) -> Self {
        let single = CountedRun {
            kind: frames.kind(),
            count: 1,
        };
        // SAFETY: this function owns the frames, and makes each a counted single frame below.
        let run = unsafe { Self::from_raw(frames.start(), frames.count()) };
        mem::forget(frames);
        // A run that crosses a boundary of the metadata's arrays has several slices of records.
        let mut rest = run.frames();
        while let records @ [_, ..] = FRAMES.meta_slice(rest.clone()) {
            records.iter().for_each(|meta| meta.start_counting(single));
            rest.start += records.len();
        }
        run
    }
}

impl Drop for FrameRun {
    fn drop(&mut self) {
        let mut rest = self.frames();
        while !rest.is_empty() {
            rest.start += match FrameMeta::release_singles(FRAMES.meta_slice(rest.clone())) {
                Some((kind, count)) => {
                    Frames::new(rest.start, count, kind).free_as_singles();
                    count
                }
                // This frame has other owners. (If it was wrongly freed, `release` detects it.)
                None => {
                    drop(release(rest.start as u32));
                    1
                }
            };
        }
    }
}

impl fmt::Debug for FrameRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, start) = (self.count, self.start());
        write!(f, "{count} single frames from {start:#x} on")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{UsageKind, add_memory, alloc_frames, host};

    #[test]
    fn a_run_with_a_frame_that_has_too_many_references_is_not_shared() {
        let memory = host::physical_memory(1 << 30, 4 << 20).unwrap();
        // SAFETY: the memory stays mapped, and is used for this alone.
        unsafe { add_memory(&[memory]) }.unwrap();
        let frames = alloc_frames(400, PAGE_SIZE, UsageKind::VirtMem).unwrap();
        let run = FrameRun::from(frames);
        let first = run.frames().start;
        for full in [0, 100, 399] {
            let meta: &FrameMeta = FRAMES.meta(first + full).unwrap();
            meta.set_references(FrameMeta::MOST_REFERENCES);
            assert_eq!(run.share().err(), Some(AxError::ResourceBusy), "{full}");
            meta.set_references(1);
            assert!(run.is_exclusive(), "{full}");
        }
    }
}
