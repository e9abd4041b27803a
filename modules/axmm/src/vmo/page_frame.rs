//! [`PageFrame`]: one reference to the frame of a page.

use core::mem::{self, ManuallyDrop};
use core::num::NonZeroU32;

use axalloc::{FrameRun, SharedFrames};
use axconfig::PAGE_SIZE;
use axerrno::AxResult;
use memory_addr::PhysAddr;

/// One reference to a single frame, in 4 bytes: the number of the frame, which is its physical
/// address divided by the page size. No frame that is allocated has the number 0.
pub struct PageFrame(NonZeroU32);

impl PageFrame {
    /// Splits a run into references to its frames.
    pub fn split(run: FrameRun) -> impl Iterator<Item = Self> {
        let count = run.count();
        let first = run.into_raw().as_usize() / PAGE_SIZE;
        let numbers = first as u32..(first + count) as u32;
        numbers.filter_map(NonZeroU32::new).map(Self)
    }

    /// Returns the physical address of the frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.0.get() as usize * PAGE_SIZE)
    }

    /// Borrows the references that `pages` own, from the first on, as far as their frames are
    /// contiguous. `None` if the first page has no frame.
    fn run(pages: &[Option<Self>]) -> Option<ManuallyDrop<FrameRun>> {
        let first = pages.first()?.as_ref()?;
        let numbers = first.0.get()..;
        let follows = |(page, number): &(&Option<Self>, u32)| {
            let frame = page.as_ref().map(|frame| frame.0.get());
            frame == Some(*number)
        };
        let count = pages.iter().zip(numbers).take_while(follows).count();
        // SAFETY: each of these pages owns a reference to its single frame, and the frames are
        // contiguous. `ManuallyDrop` leaves the references with the pages.
        let run = unsafe { FrameRun::from_raw(first.start(), count) };
        Some(ManuallyDrop::new(run))
    }

    /// Returns the number of pages at the start of `pages` that have contiguous frames.
    pub fn count_contiguous(pages: &[Option<Self>]) -> usize {
        Self::run(pages).map_or(0, |run| run.count())
    }

    /// Returns the number of pages at the start of `pages` that have contiguous frames without
    /// other references.
    pub fn count_exclusive(pages: &[Option<Self>]) -> usize {
        Self::run(pages).map_or(0, |run| run.count_exclusive())
    }

    /// Gives each page of `to` another reference to the frame of the page of `from` with the same
    /// index. `to` is as long as `from`, and its pages have no frames yet.
    ///
    /// # Errors
    ///
    /// Fails with `ResourceBusy` if a frame has 2^31 references. Some pages of `to` may have frames
    /// then.
    pub fn share_all(from: &[Option<Self>], to: &mut [Option<Self>]) -> AxResult {
        let mut done = 0;
        while done < from.len() {
            let Some(run) = Self::run(&from[done..]) else {
                done += 1;
                continue;
            };
            // These references belong to the pages of `to` from now on.
            run.share()?.into_raw();
            let pages = done..done + run.count();
            for (page, shared) in to[pages.clone()].iter_mut().zip(&from[pages]) {
                // There is no former frame to drop.
                let shared = shared.as_ref().map(|frame| Self(frame.0));
                mem::forget(mem::replace(page, shared));
            }
            done += run.count();
        }
        Ok(())
    }

    /// Borrows the reference that this value owns.
    #[inline(always)]
    fn reference(&self) -> ManuallyDrop<FrameRun> {
        // SAFETY: `self` owns a reference to this single frame, which came from `FrameRun::into_raw`.
        // `ManuallyDrop` leaves it with `self`.
        ManuallyDrop::new(unsafe { FrameRun::from_raw(self.start(), 1) })
    }

    /// Returns whether the frame has other references. They may be dropped at any time. If there
    /// are none, there will be none until this one is shared.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        !self.reference().is_exclusive()
    }

    /// Adds a reference, and returns it.
    ///
    /// # Errors
    ///
    /// Fails with `ResourceBusy` if there are 2^31 references.
    #[inline(always)]
    pub fn share(&self) -> AxResult<Self> {
        self.reference().share_one()?.into_raw();
        Ok(Self(self.0))
    }

    /// Turns the reference into a run of one frame, for freeing it together with others.
    pub fn into_run(self) -> FrameRun {
        let start = self.start();
        mem::forget(self);
        // SAFETY: `self` owned a reference to this single frame, and passes it on.
        unsafe { FrameRun::from_raw(start, 1) }
    }
}

impl Drop for PageFrame {
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference to this single frame, and does not use it any more.
        drop(unsafe { SharedFrames::from_raw(self.start()) });
    }
}
