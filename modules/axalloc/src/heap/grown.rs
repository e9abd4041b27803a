//! Where blocks come from that no hart keeps: [`talc`], which grows by runs of
//! frames and gives them back.
//!
//! Why talc: it is the one that tells when a stretch it was given is free again
//! from end to end, so that the heap can shrink; and under a random load it takes
//! the fewest instructions of those that merge what is freed (`make bench`, on
//! riscv64: 95 an operation; `buddy_system_allocator` 121, `rlsf` 143).

use core::alloc::Layout;
use core::ptr::NonNull;

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use talc::base::binning::{Binning, DefaultBinning};
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Source;

use crate::UsageKind;
use crate::hart::Harts;
use crate::pool::FramePool;

/// How much the heap grows by, in frames: 64 KiB, unless it needs more or there
/// is only less.
const GROWTH: usize = 16;

/// Blocks in runs of frames.
pub struct Grown<H: Harts + 'static>(Talc<Stretches<H>, DefaultBinning>);

impl<H: Harts> Grown<H> {
    /// Nothing yet; frames will come from `pool`.
    pub const fn new(pool: &'static FramePool<H>) -> Self {
        Self(Talc::new(Stretches {
            pool,
            emptied: None,
            spare: None,
        }))
    }

    /// A block for `layout`, whose size is not 0.
    pub fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0.
        unsafe { self.0.allocate(layout) }
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// It is from [`alloc`](Self::alloc), for the same layout, and not in use.
    pub unsafe fn dealloc(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(block.as_ptr(), layout) };
        if let Some(emptied) = self.0.source.emptied.take() {
            // One empty stretch stays, so that a load at the edge of one does
            // not make the heap grow and shrink all the time.
            let spare = self.0.source.spare.replace(emptied);
            spare
                .filter(|spare| *spare != emptied)
                .inspect(|spare| self.give_back(*spare));
        }
    }

    /// Makes a block larger or smaller in place. Answers whether it could.
    ///
    /// # Safety
    ///
    /// As for [`dealloc`](Self::dealloc); `size` is not 0.
    pub unsafe fn resize(&mut self, block: NonNull<u8>, layout: Layout, size: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.0.try_realloc_in_place(block.as_ptr(), layout, size) }
    }

    /// Gives the spare stretch back, if it is free.
    pub fn shrink(&mut self) {
        if let Some(spare) = self.0.source.spare.take() {
            self.give_back(spare);
        }
    }

    /// Gives the frames of a stretch back, if it is free.
    fn give_back(&mut self, Stretch { start, end }: Stretch) {
        // SAFETY: stretches go nowhere but here, so this is the end of one.
        if unsafe { self.0.reserved(end) }.any {
            return;
        }
        // SAFETY: as above.
        if unsafe { self.0.truncate(end, start.as_ptr()) }.is_none() {
            let first = (start.as_ptr() as usize - PHYS_VIRT_OFFSET) / PAGE_SIZE;
            let count = (end.as_ptr() as usize - start.as_ptr() as usize) / PAGE_SIZE;
            let pool = self.0.source.pool;
            pool.free_run(first, count, UsageKind::RustHeap);
        }
    }
}

/// A run of frames that talc has, by the address of its first byte and of its
/// end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    start: NonNull<u8>,
    end: NonNull<u8>,
}

/// Where talc gets its memory.
struct Stretches<H: 'static> {
    pool: &'static FramePool<H>,
    /// The stretch that has just become free from end to end.
    emptied: Option<Stretch>,
    /// A stretch that was free when it was last looked at.
    spare: Option<Stretch>,
}

// SAFETY: the addresses lead to memory that this value has alone.
unsafe impl<H: Sync> Send for Stretches<H> {}

impl<H> core::fmt::Debug for Stretches<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stretches")
            .field("spare", &self.spare)
            .finish_non_exhaustive()
    }
}

// SAFETY: no call leads back to the heap; frames come from the pool, and `Ok` is
// answered only with more memory.
unsafe impl<H: Harts> Source for Stretches<H> {
    const TRACK_HEAP_END: bool = true;

    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let pool = talc.source.pool;
        let run = |count| Some((pool.alloc_run(count, 1, UsageKind::RustHeap)?, count));
        let (first, count) = if talc.is_metadata_established() {
            // A chunk unit for the tag at each end, and what alignment may skip.
            let bytes = layout.size() + layout.align() + 2 * CHUNK_UNIT;
            let least = bytes.div_ceil(PAGE_SIZE);
            run(least.max(GROWTH)).or_else(|| run(least)).ok_or(())?
        } else {
            // The first stretch holds talc's own lists, and is never given back:
            // so it is for nothing else. Talc asks again at once.
            const { assert!(talc::min_first_heap_size::<B>() <= PAGE_SIZE) };
            run(1).ok_or(())?
        };
        let start = (first * PAGE_SIZE + PHYS_VIRT_OFFSET) as *mut u8;
        // SAFETY: the frames are nobody else's until `give_back`.
        match unsafe { talc.claim(start, count * PAGE_SIZE) } {
            Some(_) => Ok(()),
            None => {
                pool.free_run(first, count, UsageKind::RustHeap);
                Err(())
            }
        }
    }

    unsafe fn resize(&mut self, base: *mut u8, end: *mut u8, is_whole: bool) -> *mut u8 {
        if is_whole {
            // Less than a page of the first frame is the tag.
            let start = base.map_addr(|addr| addr & !(PAGE_SIZE - 1));
            let stretch = NonNull::new(start).zip(NonNull::new(end));
            self.emptied = stretch.map(|(start, end)| Stretch { start, end });
        }
        end
    }
}
