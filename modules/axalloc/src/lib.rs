//! Who owns every physical frame, and the kernel heap.
//!
//! All RAM that nobody has when the kernel boots is given to this module
//! ([`add_memory`]), range by range. A buddy system ([`buddy`]) hands it out in
//! frames of 4 KiB, in runs of any length and alignment; each run is a
//! [`Frames`], which gives it back when it goes. The heap ([`heap`]) takes frames
//! as it grows.
//!
//! Locks: `FRAMES`, a leaf; the heap's lock is held around it. Both keep
//! interrupts out.
#![cfg_attr(target_os = "none", no_std)]

mod buddy;
#[cfg(target_os = "none")]
mod heap;

use core::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
pub use axerrno::{AxError, AxResult};
use buddy::Buddy;
use kspin::SpinNoIrq;
use memory_addr::PhysAddr;

/// The most RAM ranges that are used; a machine's further ones are left alone.
const MAX_RANGES: usize = 40;

/// What frames are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageKind {
    /// The kernel heap.
    Heap,
    /// Page tables.
    PageTable,
    /// Pages of mappings.
    VirtMem,
    /// Whatever an application or a driver does with them.
    Global,
}

impl UsageKind {
    const ALL: [Self; 4] = [Self::Heap, Self::PageTable, Self::VirtMem, Self::Global];
}

static FRAMES: SpinNoIrq<ArrayVec<Buddy, MAX_RANGES>> = SpinNoIrq::new(ArrayVec::new_const());
static USED: [AtomicUsize; UsageKind::ALL.len()] =
    [const { AtomicUsize::new(0) }; UsageKind::ALL.len()];

/// How many frames there are, in all, and what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Frames under this module's care.
    pub total: usize,
    /// Frames nobody has.
    pub free: usize,
    /// Frames of the kernel heap.
    pub heap: usize,
    /// Frames of page tables.
    pub page_table: usize,
    /// Frames of mappings' pages.
    pub virt_mem: usize,
    /// Frames of applications and drivers.
    pub global: usize,
}

/// Gives the RAM at virtual address `start`, `size` bytes, to this module, which
/// keeps about 2 bits a frame of it for itself. Bytes that make no whole frame
/// are left alone.
///
/// # Safety
///
/// The memory is RAM in the linear mapping, readable and writable from now on
/// for good, and nobody else uses it.
pub unsafe fn add_memory(start: usize, size: usize) {
    // SAFETY: the caller's promise is `Buddy::new`'s.
    if let Some(buddy) = unsafe { Buddy::new(start, size) } {
        let _ = FRAMES.lock().try_push(buddy);
    }
}

/// The present use of all frames. Each number is exact; they are read one after
/// the other.
pub fn usage() -> Usage {
    let used = |kind: UsageKind| USED[kind as usize].load(Ordering::Relaxed);
    let ranges = FRAMES.lock();
    Usage {
        total: ranges.iter().map(Buddy::total).sum(),
        free: ranges.iter().map(Buddy::free).sum(),
        heap: used(UsageKind::Heap),
        page_table: used(UsageKind::PageTable),
        virt_mem: used(UsageKind::VirtMem),
        global: used(UsageKind::Global),
    }
}

/// The longest run of frames, a power of two, that can be had in one piece.
pub fn largest_free_run() -> usize {
    FRAMES.lock().iter().map(Buddy::largest).max().unwrap_or(0)
}

/// A run of frames that has one owner, and goes back when the owner goes.
#[derive(Debug)]
pub struct Frames {
    start: PhysAddr,
    count: usize,
    kind: UsageKind,
}

impl Frames {
    /// Takes `count` frames in one piece, the first aligned to `align` bytes.
    /// What they hold is left over from whoever had them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `count` is 0 or `align` is no power of two or less than
    /// a frame; `NoMemory` if there is no such run.
    pub fn new(count: usize, align: usize, kind: UsageKind) -> AxResult<Self> {
        if count == 0 || !align.is_power_of_two() || align < PAGE_SIZE {
            return Err(AxError::InvalidInput);
        }
        let start = FRAMES
            .lock()
            .iter_mut()
            .find_map(|range| range.alloc(count, align))
            .ok_or(AxError::NoMemory)?;
        USED[kind as usize].fetch_add(count, Ordering::Relaxed);
        Ok(Self {
            start: PhysAddr::from_usize(start - PHYS_VIRT_OFFSET),
            count,
            kind,
        })
    }

    /// As [`new`](Self::new), filled with zeroes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn zeroed(count: usize, align: usize, kind: UsageKind) -> AxResult<Self> {
        let mut frames = Self::new(count, align, kind)?;
        frames.as_bytes_mut().fill(0);
        Ok(frames)
    }

    /// The physical address of the first frame.
    pub fn start(&self) -> PhysAddr {
        self.start
    }

    /// How many frames.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes, in the linear mapping.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        let start = (self.start.as_usize() + PHYS_VIRT_OFFSET) as *mut u8;
        // SAFETY: the frames lie in the linear mapping (`add_memory`), have one
        // owner, and any byte is a `u8`.
        unsafe { core::slice::from_raw_parts_mut(start, self.count * PAGE_SIZE) }
    }

    /// Gives the frames into other hands, such as a page table's: they go back
    /// by [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> PhysAddr {
        let start = self.start;
        core::mem::forget(self);
        start
    }

    /// Takes frames back from other hands.
    ///
    /// # Safety
    ///
    /// All `count` frames from `start` on were taken for `kind`, given into
    /// other hands by [`into_raw`](Self::into_raw), and not taken back since.
    /// They need not be the run that was taken: a part of one will do.
    pub unsafe fn from_raw(start: PhysAddr, count: usize, kind: UsageKind) -> Self {
        Self { start, count, kind }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let start = self.start.as_usize() + PHYS_VIRT_OFFSET;
        let mut ranges = FRAMES.lock();
        if let Some(range) = ranges.iter_mut().find(|range| range.contains(start)) {
            range.dealloc(start, self.count);
            USED[self.kind as usize].fetch_sub(self.count, Ordering::Relaxed);
        }
    }
}
