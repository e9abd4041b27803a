//! [`Frames`]: a frame run with one owner, and the functions that allocate one.

use core::fmt;
use core::mem;
use core::num::NonZeroUsize;

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};
#[cfg(feature = "hal")]
use axhal::mem::zero_pages;
use memory_addr::PhysAddr;

use crate::fault;
use crate::machine::{FRAMES, reclaim};
use crate::metadata::{CountedRun, FrameMeta, Released};
#[cfg(debug_assertions)]
use crate::redzone;
use crate::usage::UsageKind;

/// Allocates one frame. It holds what was in it before.
///
/// # Errors
///
/// Returns `NoMemory` if no frame is free.
#[inline(always)]
pub fn alloc_frame(kind: UsageKind) -> AxResult<Frames> {
    if fault::next_fails(FRAMES.harts()) {
        return Err(AxError::NoMemory);
    }
    let first = FRAMES.alloc_one(kind).or_else(|| {
        reclaim();
        FRAMES.alloc_one(kind)
    });
    Ok(Frames::new(first.ok_or(AxError::NoMemory)?, 1, kind))
}

/// Allocates one frame and fills it with zeroes.
///
/// # Errors
///
/// Returns `NoMemory` if no frame is free.
#[inline(always)]
pub fn alloc_frame_zeroed(kind: UsageKind) -> AxResult<Frames> {
    let mut frame = alloc_frame(kind)?;
    frame.zero();
    Ok(frame)
}

/// Allocates `count` contiguous frames, the first of them aligned to `align` bytes. They hold
/// what was in them before.
///
/// The time this takes is bounded by the number of block sizes. It does not depend on the amount
/// of memory or its use. A run is found if a block of its size, rounded up to a power of two, is
/// free.
///
/// # Errors
///
/// - Returns `InvalidInput` if `count` is 0, or if `align` is below 4 KiB or not a power of two.
/// - Returns `NoMemory` if there is no such run.
pub fn alloc_frames(count: usize, align: usize, kind: UsageKind) -> AxResult<Frames> {
    if count == 0 || !align.is_power_of_two() || align < PAGE_SIZE {
        return Err(AxError::InvalidInput);
    }
    if count == 1 && align == PAGE_SIZE {
        return alloc_frame(kind);
    }
    if fault::next_fails(FRAMES.harts()) || !FRAMES.fits_in_memory(count, align / PAGE_SIZE) {
        return Err(AxError::NoMemory);
    }
    let alloc = || FRAMES.alloc_run(count, align / PAGE_SIZE, kind);
    let first = alloc().or_else(|| {
        reclaim();
        alloc()
    });
    Ok(Frames::new(first.ok_or(AxError::NoMemory)?, count, kind))
}

/// Allocates `count` contiguous frames, the first of them aligned to `align` bytes, and fills
/// them with zeroes. See [`alloc_frames`].
///
/// # Errors
///
/// - Returns `InvalidInput` if `count` is 0, or if `align` is below 4 KiB or not a power of two.
/// - Returns `NoMemory` if there is no such run.
pub fn alloc_frames_zeroed(count: usize, align: usize, kind: UsageKind) -> AxResult<Frames> {
    let mut frames = alloc_frames(count, align, kind)?;
    frames.zero();
    Ok(frames)
}

/// A frame run with one owner. It is freed when this is dropped.
///
/// This and an `Option` of it are passed in two registers.
pub struct Frames {
    /// The number of the first frame.
    first: usize,
    /// The number of frames times [`UsageKind::COUNT`], plus the kind.
    count_and_kind: NonZeroUsize,
}

impl Frames {
    /// Makes the caller the owner of `count` frames from `first` on, which have no owner and
    /// are counted as `kind`. `count` is at least 1.
    #[inline(always)]
    pub(crate) fn new(first: usize, count: usize, kind: UsageKind) -> Self {
        let packed = NonZeroUsize::new((count * UsageKind::COUNT) | kind as usize);
        Self {
            first,
            count_and_kind: packed.unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// Returns the physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.first * PAGE_SIZE)
    }

    /// Returns the number of frames.
    pub fn count(&self) -> usize {
        self.count_and_kind.get() / UsageKind::COUNT
    }

    /// Returns what the frames are counted as.
    pub fn kind(&self) -> UsageKind {
        UsageKind::ALL[self.count_and_kind.get() % UsageKind::COUNT]
    }

    fn as_mut_ptr(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.start().as_usize() + PHYS_VIRT_OFFSET)
    }

    /// Returns the contents of the frames, in the linear mapping.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the linear mapping maps all frames (`add_memory`). `self` is their only
        // owner, so they are not written while it is borrowed. Every byte is a valid `u8`.
        unsafe { core::slice::from_raw_parts(self.as_mut_ptr(), self.count() * PAGE_SIZE) }
    }

    /// Returns the contents of the frames, in the linear mapping, for writing.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the linear mapping maps all frames (`add_memory`). `self` is their only
        // owner and is borrowed exclusively. Every byte is a valid `u8`.
        unsafe { core::slice::from_raw_parts_mut(self.as_mut_ptr(), self.count() * PAGE_SIZE) }
    }

    /// Fills the frames with zeroes, by the machine's fastest instructions.
    #[inline]
    pub fn zero(&mut self) {
        // SAFETY: these are whole frames in the linear mapping, and `self` is their only owner.
        unsafe { zero_pages(self.as_mut_ptr(), self.count() * PAGE_SIZE) };
    }

    /// Fills the frames with zeroes, at most `most` frames at a time, and calls `between` after
    /// each piece.
    #[inline]
    pub fn zero_in_pieces(&mut self, most: usize, between: impl Fn()) {
        let (mut done, count) = (0, self.count());
        while done < count {
            let piece = most.clamp(1, count - done);
            // SAFETY: `done + piece` is at most `count`. So these are whole frames in the
            // linear mapping, and `self` is their only owner.
            unsafe { zero_pages(self.as_mut_ptr().add(done * PAGE_SIZE), piece * PAGE_SIZE) };
            done += piece;
            between();
        }
    }

    /// Splits the run into its first `count` frames and the rest.
    ///
    /// # Errors
    ///
    /// Returns the run as it was if one of the parts would have no frame.
    pub fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        if count == 0 || count >= self.count() {
            return Err(self);
        }
        let (first, all, kind) = (self.first, self.count(), self.kind());
        mem::forget(self);
        let rest = Self::new(first + count, all - count, kind);
        Ok((Self::new(first, count, kind), rest))
    }

    /// Joins the run with `next`: the inverse of [`split_at`](Self::split_at).
    ///
    /// # Errors
    ///
    /// Returns both as they were if `next` does not begin where this run ends or has another kind,
    /// or if both together have 2^26 frames or more.
    #[inline]
    pub fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        let count = self.count() + next.count();
        let is_next = self.first + self.count() == next.first && self.kind() == next.kind();
        if !is_next || count > CountedRun::MAX_COUNT {
            return Err((self, next));
        }
        let joined = Self::new(self.first, count, self.kind());
        mem::forget((self, next));
        Ok(joined)
    }

    /// Turns the handle into a raw owner: the run's physical address, which owns the run from
    /// now on. Raw owners are for code that keeps only an address, such as a page table. The
    /// run is freed by [`from_raw`](Self::from_raw), as a whole.
    pub fn into_raw(self) -> PhysAddr {
        if let Some(meta) = FRAMES.meta(self.first) {
            meta.start_counting(CountedRun {
                kind: self.kind(),
                count: self.count(),
            });
        }
        let start = self.start();
        mem::forget(self);
        start
    }

    /// Turns an address that [`into_raw`](Self::into_raw) returned back into a handle.
    ///
    /// Returns `None` if the run has other owners, which keep it. The reference of `start` is
    /// dropped all the same.
    ///
    /// A `start` that owns no run is detected, unless the frame was allocated again: debug builds
    /// panic, and release builds return `None`.
    ///
    /// # Safety
    ///
    /// `into_raw` returned `start`, which has not been turned back since. The caller does not
    /// use the run through that address any more.
    pub unsafe fn from_raw(start: PhysAddr) -> Option<Self> {
        release(frame_at(start))
    }

    /// Frees a run whose frames were single frames.
    pub(crate) fn free_as_singles(mut self) {
        self.fill_freed();
        FRAMES.free_singles(self.first, self.count(), self.kind());
        mem::forget(self);
    }

    /// Fills the frames with junk before they are freed, in debug builds.
    #[inline(always)]
    fn fill_freed(&mut self) {
        #[cfg(debug_assertions)]
        redzone::fill_freed(self.as_bytes_mut());
    }
}

impl Drop for Frames {
    #[inline(always)]
    fn drop(&mut self) {
        self.fill_freed();
        let first = self.first;
        match self.count() {
            1 => FRAMES.free_one(first, self.kind()),
            count => FRAMES.free_run(first, count, self.kind()),
        }
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, start, kind) = (self.count(), self.start(), self.kind().name());
        write!(f, "{count} frames at {start:#x} ({kind})")
    }
}

/// Drops a reference to the counted run that begins with frame `first`. Returns the run if that
/// was the last reference.
///
/// # Panics
///
/// In debug builds, panics if no counted run begins there.
pub(crate) fn release(first: u32) -> Option<Frames> {
    let meta = FRAMES.meta(first as usize);
    let released = meta.map_or(Released::NotCounted, FrameMeta::release);
    debug_assert!(
        released != Released::NotCounted,
        "the frame at {:#x} is freed twice, or its address was never given out",
        first as usize * PAGE_SIZE
    );
    match released {
        Released::Last(CountedRun { kind, count }) => {
            Some(Frames::new(first as usize, count, kind))
        }
        Released::Shared | Released::NotCounted => None,
    }
}

/// Returns the number of the frame at a physical address.
pub(crate) fn frame_at(start: PhysAddr) -> u32 {
    (start.as_usize() / PAGE_SIZE) as u32
}

/// Fills `len` bytes from `start` on with zeroes. Both are multiples of 4 KiB.
///
/// # Safety
///
/// The caller owns these bytes.
#[cfg(not(feature = "hal"))]
unsafe fn zero_pages(start: *mut u8, len: usize) {
    debug_assert!(start.addr().is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE));
    // SAFETY: the caller promises that it owns the bytes.
    unsafe { start.write_bytes(0, len) }
}

#[cfg(test)]
mod tests {
    use core::ops::Range;

    use super::*;

    /// Joins two runs, and returns the number of frames of the result. Forgets the runs, because
    /// there is no such memory.
    fn join(first: Range<usize>, second: Range<usize>) -> Option<usize> {
        let [first, second] =
            [first, second].map(|run| Frames::new(run.start, run.len(), UsageKind::Dma));
        match first.join(second) {
            Ok(joined) => {
                let count = joined.count();
                mem::forget(joined);
                Some(count)
            }
            Err(both) => {
                mem::forget(both);
                None
            }
        }
    }

    /// The metadata of a run has 26 bits for the number of its frames.
    #[test]
    fn runs_that_are_too_long_together_are_not_joined() {
        let (middle, end) = (1 << 25, 1 << 26);
        assert_eq!(join(0..middle, middle..end - 1), Some(end - 1));
        assert_eq!(join(0..middle, middle..end), None);
    }
}
