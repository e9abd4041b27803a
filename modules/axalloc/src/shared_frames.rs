//! [`SharedFrames`]: a frame run with counted owners.

use core::fmt;
use core::mem;

use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use crate::frames::{Frames, frame_at, release};
use crate::machine::FRAMES;
use crate::metadata::CountedRun;

/// One of the owners of a frame run. The run is freed when its last owner is dropped.
pub struct SharedFrames(u32);

impl SharedFrames {
    /// Returns the physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.0 as usize * PAGE_SIZE)
    }

    /// Returns the number of frames.
    pub fn count(&self) -> usize {
        self.counted().map_or(0, |(run, _)| run.count)
    }

    /// Returns the number of owners. Other owners may change it at any time. If it is 1, this
    /// is the only owner, and it stays 1.
    pub fn references(&self) -> usize {
        self.counted()
            .map_or(0, |(_, references)| references as usize)
    }

    fn counted(&self) -> Option<(CountedRun, u32)> {
        FRAMES.meta(self.0 as usize)?.counted()
    }

    /// Adds an owner, and returns it.
    ///
    /// # Errors
    ///
    /// Returns `ResourceBusy` if there are 2^32 - 1 owners.
    pub fn share(&self) -> AxResult<Self> {
        let meta = FRAMES.meta(self.0 as usize);
        let shared = meta.and_then(|meta| meta.share());
        shared.map(|_| Self(self.0)).ok_or(AxError::ResourceBusy)
    }

    /// Turns the only owner into a handle with exclusive access.
    ///
    /// # Errors
    ///
    /// Returns `self` if there are other owners.
    pub fn try_unique(self) -> Result<Frames, Self> {
        if self.references() != 1 {
            return Err(self);
        }
        let first = self.0;
        mem::forget(self);
        release(first).ok_or_else(|| Self(first))
    }

    /// Turns this owner into the run's physical address, which owns the reference from now on.
    /// It is for owners that keep only an address, such as a page table.
    pub fn into_raw(self) -> PhysAddr {
        let start = self.start();
        mem::forget(self);
        start
    }

    /// Turns an address that `into_raw` returned back into an owner.
    ///
    /// # Safety
    ///
    /// [`SharedFrames::into_raw`](Self::into_raw) or [`Frames::into_raw`] has returned `start`
    /// more often than `start` has been turned back.
    pub unsafe fn from_raw(start: PhysAddr) -> Self {
        Self(frame_at(start))
    }
}

impl Frames {
    /// Turns the run into one that can have several owners.
    pub fn into_shared(self) -> SharedFrames {
        SharedFrames(frame_at(self.into_raw()))
    }
}

impl Drop for SharedFrames {
    #[inline]
    fn drop(&mut self) {
        drop(release(self.0));
    }
}

impl fmt::Debug for SharedFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, references, start) = (self.count(), self.references(), self.start());
        write!(f, "{count} frames at {start:#x}, {references} owners")
    }
}
