//! Handles of frames: who has one has the frames.

use core::fmt;
use core::mem;
use core::num::NonZeroUsize;

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use crate::whole::{FRAMES, reclaim, zero_pages};
use crate::word::{Held, Released, Word};
use crate::{UsageKind, fault, redzone};

/// Takes one frame. What it holds is left over from whoever had it.
///
/// # Errors
///
/// `NoMemory` if no frame is free.
#[inline(always)]
pub fn alloc_frame(kind: UsageKind) -> AxResult<Frames> {
    if fault::fails(FRAMES.harts()) {
        return Err(AxError::NoMemory);
    }
    let first = FRAMES.alloc_one(kind).or_else(|| {
        reclaim();
        FRAMES.alloc_one(kind)
    });
    Ok(Frames::new(first.ok_or(AxError::NoMemory)?, 1, kind))
}

/// Takes one frame full of zeroes.
///
/// # Errors
///
/// As [`alloc_frame`].
#[inline(always)]
pub fn alloc_frame_zeroed(kind: UsageKind) -> AxResult<Frames> {
    let mut frame = alloc_frame(kind)?;
    frame.zero();
    Ok(frame)
}

/// Takes `count` frames in one piece, the first aligned to `align` bytes. What
/// they hold is left over from whoever had them.
///
/// The time it takes is bounded by the number of block sizes, not by how much
/// memory there is or how it is used. A run is found if a block of its size,
/// rounded up to a power of two, is free.
///
/// # Errors
///
/// `InvalidInput` if `count` is 0 or `align` is no power of two or less than a
/// frame; `NoMemory` if there is no such run.
pub fn alloc_frames(count: usize, align: usize, kind: UsageKind) -> AxResult<Frames> {
    if count == 0 || !align.is_power_of_two() || align < PAGE_SIZE {
        return Err(AxError::InvalidInput);
    }
    if count == 1 && align == PAGE_SIZE {
        return alloc_frame(kind);
    }
    if fault::fails(FRAMES.harts()) || !FRAMES.could_have(count, align / PAGE_SIZE) {
        return Err(AxError::NoMemory);
    }
    let alloc = || FRAMES.alloc_run(count, align / PAGE_SIZE, kind);
    let first = alloc().or_else(|| {
        reclaim();
        alloc()
    });
    Ok(Frames::new(first.ok_or(AxError::NoMemory)?, count, kind))
}

/// Takes `count` frames as [`alloc_frames`] does, full of zeroes.
///
/// # Errors
///
/// As [`alloc_frames`].
pub fn alloc_frames_zeroed(count: usize, align: usize, kind: UsageKind) -> AxResult<Frames> {
    let mut frames = alloc_frames(count, align, kind)?;
    frames.zero();
    Ok(frames)
}

/// A run of frames that has one owner, and goes back when the owner goes.
///
/// It goes in two registers, and so does an `Option` of it.
pub struct Frames {
    first: usize,
    /// How many, and, in the lowest bits, of which kind.
    count_and_kind: NonZeroUsize,
}

impl Frames {
    /// `count` frames from `first` on, which are nobody's. At least one.
    #[inline(always)]
    pub(crate) fn new(first: usize, count: usize, kind: UsageKind) -> Self {
        let packed = NonZeroUsize::new((count * UsageKind::COUNT) | kind as usize);
        Self {
            first,
            count_and_kind: packed.unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// The physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.first * PAGE_SIZE)
    }

    /// How many frames.
    pub fn count(&self) -> usize {
        self.count_and_kind.get() / UsageKind::COUNT
    }

    /// What they are counted as.
    pub fn kind(&self) -> UsageKind {
        UsageKind::ALL[self.count_and_kind.get() % UsageKind::COUNT]
    }

    fn as_mut_ptr(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.start().as_usize() + PHYS_VIRT_OFFSET)
    }

    /// The bytes, in the linear mapping.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the frames lie in the linear mapping (`add_memory`), have one
        // owner, and any byte is a `u8`.
        unsafe { core::slice::from_raw_parts(self.as_mut_ptr(), self.count() * PAGE_SIZE) }
    }

    /// The bytes, in the linear mapping.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_bytes`.
        unsafe { core::slice::from_raw_parts_mut(self.as_mut_ptr(), self.count() * PAGE_SIZE) }
    }

    /// Fills the frames with zeroes, as fast as the machine does it.
    #[inline]
    pub fn zero(&mut self) {
        // SAFETY: whole frames, which are this owner's alone.
        unsafe { zero_pages(self.as_mut_ptr(), self.count() * PAGE_SIZE) };
    }

    /// As [`zero`](Self::zero), `most` frames at a time, and calls `between` after each
    /// piece.
    #[inline]
    pub fn zero_in_pieces(&mut self, most: usize, between: impl Fn()) {
        let (mut done, count) = (0, self.count());
        while done < count {
            let piece = most.clamp(1, count - done);
            // SAFETY: `done + piece` is at most `count`: whole frames of this owner's alone.
            unsafe { zero_pages(self.as_mut_ptr().add(done * PAGE_SIZE), piece * PAGE_SIZE) };
            done += piece;
            between();
        }
    }

    /// Makes two runs of this one, the first of them `count` frames long.
    ///
    /// # Errors
    ///
    /// The run as it was, if one of the two would have no frame.
    pub fn split_at(self, count: usize) -> Result<(Self, Self), Self> {
        if count == 0 || count >= self.count() {
            return Err(self);
        }
        let (first, all, kind) = (self.first, self.count(), self.kind());
        mem::forget(self);
        let rest = Self::new(first + count, all - count, kind);
        Ok((Self::new(first, count, kind), rest))
    }

    /// Makes one run of this one and `next`, the inverse of
    /// [`split_at`](Self::split_at).
    ///
    /// # Errors
    ///
    /// Both as they were, if `next` does not follow this one, or is of another kind.
    #[inline]
    pub fn join(self, next: Self) -> Result<Self, (Self, Self)> {
        if self.first + self.count() != next.first || self.kind() != next.kind() {
            return Err((self, next));
        }
        let joined = Self::new(self.first, self.count() + next.count(), self.kind());
        mem::forget((self, next));
        Ok(joined)
    }

    /// Gives the run into other hands, such as a page table's: it goes back by
    /// [`from_raw`](Self::from_raw), as a whole.
    pub fn into_raw(self) -> PhysAddr {
        if let Some(word) = FRAMES.word(self.first) {
            word.hold(Held {
                kind: self.kind(),
                count: self.count(),
            });
        }
        let start = self.start();
        mem::forget(self);
        start
    }

    /// Takes a run back from other hands. `None` if it has other owners too, and
    /// if it has never been given away or has been taken back already, where
    /// debug builds stop and name it.
    ///
    /// # Safety
    ///
    /// The run was given away by [`into_raw`](Self::into_raw), not taken back
    /// since, and nobody uses it any more.
    pub unsafe fn from_raw(start: PhysAddr) -> Option<Self> {
        release(frame_at(start))
    }

    /// Gives back what came one by one.
    pub(crate) fn free_singly(mut self) {
        redzone::fill_freed(&mut self);
        FRAMES.free_singles(self.first, self.count(), self.kind());
        mem::forget(self);
    }

    /// The same run, which may have more than one owner from now on.
    pub fn into_shared(self) -> SharedFrames {
        SharedFrames(frame_at(self.into_raw()))
    }
}

impl Drop for Frames {
    #[inline(always)]
    fn drop(&mut self) {
        redzone::fill_freed(self);
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

/// A run of frames that goes back when the last of its owners goes.
pub struct SharedFrames(u32);

impl SharedFrames {
    /// The physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        PhysAddr::from_usize(self.0 as usize * PAGE_SIZE)
    }

    /// How many frames.
    pub fn count(&self) -> usize {
        self.held().map_or(0, |(held, _)| held.count)
    }

    /// How many owners there are. Another owner may change it at any time, but
    /// for the only one.
    pub fn references(&self) -> usize {
        self.held().map_or(0, |(_, references)| references as usize)
    }

    fn held(&self) -> Option<(Held, u32)> {
        FRAMES.word(self.0 as usize)?.held()
    }

    /// One owner more.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if there are 2^32 - 1.
    pub fn share(&self) -> AxResult<Self> {
        let word = FRAMES.word(self.0 as usize);
        let shared = word.and_then(|word| word.share());
        shared.map(|_| Self(self.0)).ok_or(AxError::ResourceBusy)
    }

    /// The run as its only owner's.
    ///
    /// # Errors
    ///
    /// This owner, if there are others.
    pub fn try_unique(self) -> Result<Frames, Self> {
        if self.references() != 1 {
            return Err(self);
        }
        let first = self.0;
        mem::forget(self);
        release(first).ok_or_else(|| Self(first))
    }

    /// Gives this owner's part into other hands, such as a page table's.
    pub fn into_raw(self) -> PhysAddr {
        let start = self.start();
        mem::forget(self);
        start
    }

    /// Takes one owner's part back from other hands.
    ///
    /// # Safety
    ///
    /// It was given away by [`into_raw`](Self::into_raw), or by that of
    /// [`Frames`], and not taken back since.
    pub unsafe fn from_raw(start: PhysAddr) -> Self {
        Self(frame_at(start))
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

/// One owner of the run less; the last one gets it.
pub(crate) fn release(first: u32) -> Option<Frames> {
    let word = FRAMES.word(first as usize);
    let released = word.map_or(Released::NotHeld, Word::release);
    debug_assert!(
        released != Released::NotHeld,
        "the frame at {:#x} is freed twice, or is nobody's",
        first as usize * PAGE_SIZE
    );
    match released {
        Released::Last(Held { kind, count }) => Some(Frames::new(first as usize, count, kind)),
        Released::Shared | Released::NotHeld => None,
    }
}

fn frame_at(start: PhysAddr) -> u32 {
    (start.as_usize() / PAGE_SIZE) as u32
}
