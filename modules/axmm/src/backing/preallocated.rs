//! Frames that are allocated and zeroed before a page fault takes its fault slot, so that
//! nothing waits for the zeroing.

use core::iter::successors;

use axalloc::{Frames, UsageKind, alloc_frame_zeroed};
use memory_addr::{PAGE_SIZE_4K, PhysAddr};

use super::grain::Grain;
use super::zeroed::{aligned_zeroed_run, into_page_table};
use crate::addr::PAGES_PER_LARGE_PAGE;
use crate::machine::Machine;

/// The preallocated frames of one page fault. Frames that are not taken are freed with it.
pub struct PreallocatedFrames {
    /// The grain that the frames were allocated for. There may be fewer frames than a page fault
    /// of this grain maps.
    grain: Option<Grain>,
    /// The next frame, which is not part of `run`. The value owns it (`Frames::into_raw`).
    single: Option<PhysAddr>,
    /// The frames after `single`.
    run: Option<Frames>,
}

impl PreallocatedFrames {
    /// Returns a value without frames.
    pub const fn empty() -> Self {
        Self {
            grain: None,
            single: None,
            run: None,
        }
    }

    /// Allocates one frame. The value has no frames if that fails.
    #[inline(always)]
    pub fn with_one_frame() -> Self {
        Self {
            grain: Some(Grain::Page),
            single: alloc_frame_zeroed(UsageKind::VirtMem)
                .ok()
                .map(Frames::into_raw),
            run: None,
        }
    }

    /// Frees all frames, and allocates those that a page fault of this grain takes: one frame, or
    /// a run. If no run of that length is free, allocates a shorter run ([`Grain::Around`]) or one
    /// frame. If no frame is free, the value has no frames.
    #[inline(never)]
    pub fn allocate<M: Machine>(&mut self, grain: Grain) {
        // The old frames are freed first, since the new ones may need their memory.
        *self = Self::empty();
        let run = match grain {
            Grain::Page => None,
            Grain::Large => aligned_zeroed_run::<M>(PAGES_PER_LARGE_PAGE),
            Grain::Around(pages) => {
                let shorter = successors(Some(usize::from(pages)), |count| Some(count / 2));
                shorter
                    .take_while(|count| *count > 1)
                    .find_map(aligned_zeroed_run::<M>)
            }
        };
        if run.is_none() {
            *self = Self::with_one_frame();
        }
        self.grain = Some(grain);
        self.run = run;
    }

    /// Makes every hart fetch the contents of the frames anew, if there are any: the zeroes may
    /// have replaced code.
    pub fn sync_icache<M: Machine>(&self) {
        if let Some(frame) = self.single {
            M::clean_code(frame, PAGE_SIZE_4K);
        }
        if let Some(run) = &self.run {
            M::clean_code(run.start(), run.count() * PAGE_SIZE_4K);
        }
        if self.single.is_some() || self.run.is_some() {
            M::sync_icache();
        }
    }

    /// Returns the grain that frames have been allocated for. `None` before any allocation.
    pub(super) fn grain(&self) -> Option<Grain> {
        self.grain
    }

    /// Returns the first frame of the block for a large page, if there is one. The block stays
    /// here until it is [taken](Self::take_block).
    pub(super) fn peek_block(&self) -> Option<PhysAddr> {
        let run = self.run.as_ref()?;
        (run.count() == PAGES_PER_LARGE_PAGE).then(|| run.start())
    }

    /// Takes the block out: the page table owns it now.
    pub(super) fn take_block(&mut self) {
        if let Some(block) = self.run.take() {
            into_page_table(block);
        }
    }

    /// Frees all frames but the one that [`peek`](Self::peek) has returned. Returns whether
    /// there were any.
    #[cold]
    pub(super) fn free_run(&mut self) -> bool {
        self.run.take().is_some()
    }

    /// Returns the next frame, if it is a single one and not part of a run. It stays here until
    /// it is [taken](Self::take).
    #[inline(always)]
    pub(super) fn peek_single(&self) -> Option<PhysAddr> {
        self.single
    }

    /// Returns the next frame, split off from the run if necessary. It stays here until it is
    /// [taken](Self::take).
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<PhysAddr> {
        match self.single {
            Some(frame) => Some(frame),
            None => self.split_off_next(),
        }
    }

    #[cold]
    #[inline(never)]
    fn split_off_next(&mut self) -> Option<PhysAddr> {
        let frame = match self.run.take()?.split_at(1) {
            Ok((frame, rest)) => {
                self.run = Some(rest);
                frame
            }
            Err(last) => last,
        };
        self.single = Some(frame.into_raw());
        self.single
    }

    /// Takes the next frame out: the page table owns it now.
    #[inline(always)]
    pub(super) fn take(&mut self) {
        self.single = None;
    }
}

impl Drop for PreallocatedFrames {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(frame) = self.single.take() {
            free(frame);
        }
    }
}

#[cold]
#[inline(never)]
fn free(frame: PhysAddr) {
    // SAFETY: `single` only ever holds a frame from `into_raw`, and `take` removes it when the
    // page table has become its owner.
    drop(unsafe { Frames::from_raw(frame) });
}
