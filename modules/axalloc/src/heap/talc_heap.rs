//! The heap behind the harts' magazines: [`talc`], which grows by runs of frames and frees them
//! when they are empty.
//!
//! Why talc: it reports when all blocks of an extent that it was given are free, so that the heap
//! can shrink. No other allocator that merges freed blocks does. Under a random load talc also
//! takes the fewest instructions of them (`make bench`, on riscv64: 95 an operation;
//! `buddy_system_allocator` 121, `rlsf` 143).

use core::alloc::Layout;
use core::ptr::NonNull;

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use talc::base::binning::{Binning, DefaultBinning};
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Source;

use crate::frame_allocator::FrameAllocator;
use crate::harts::Harts;
use crate::usage::UsageKind;

/// How many frames the heap grows by: 64 KiB. It grows by more for a larger block, and by only
/// what the block needs if there is no such run.
const GROWTH: usize = 16;

/// A heap of blocks in runs of frames.
pub(crate) struct TalcHeap<H: Harts + 'static>(Talc<FrameSource<H>, DefaultBinning>);

impl<H: Harts> TalcHeap<H> {
    /// An empty heap that takes its memory from `frames`.
    pub(crate) const fn new(frames: &'static FrameAllocator<H>) -> Self {
        Self(Talc::new(FrameSource {
            frames,
            emptied: None,
            spare: None,
        }))
    }

    /// Allocates a block for `layout`, whose size is not 0. Returns `None` if there is no
    /// memory.
    pub(crate) fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: all callers pass a layout with a size above 0.
        unsafe { self.0.allocate(layout) }
    }

    /// Frees a block.
    ///
    /// # Safety
    ///
    /// [`alloc`](Self::alloc) gave the block for this layout, and it is not in use.
    pub(crate) unsafe fn dealloc(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises that talc gave the block for this layout.
        unsafe { self.0.deallocate(block.as_ptr(), layout) };
        if let Some(emptied) = self.0.source.emptied.take() {
            // One empty extent is kept. Otherwise a load at the edge of an extent would make
            // the heap grow and shrink all the time.
            let before = self.0.source.spare.replace(emptied);
            if let Some(before) = before.filter(|before| *before != emptied) {
                self.free_if_empty(before);
            }
        }
    }

    /// Changes the size of a block without moving it. Returns whether that was possible.
    ///
    /// # Safety
    ///
    /// [`alloc`](Self::alloc) gave the block for this layout, and `size` is not 0.
    pub(crate) unsafe fn resize(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        size: usize,
    ) -> bool {
        // SAFETY: the caller promises that talc gave the block for this layout, and that the
        // size is not 0.
        unsafe { self.0.try_realloc_in_place(block.as_ptr(), layout, size) }
    }

    /// Frees the frames of the spare extent, if it is still empty.
    pub(crate) fn shrink(&mut self) {
        if let Some(spare) = self.0.source.spare.take() {
            self.free_if_empty(spare);
        }
    }

    /// Frees the frames of an extent, if it has no blocks.
    fn free_if_empty(&mut self, Extent { start, end }: Extent) {
        // SAFETY: talc has had this extent since `acquire`, because it is taken away only here. The
        // callers have taken it out of `emptied` and `spare`, so it is not taken away again.
        if unsafe { self.0.reserved(end) }.any {
            return;
        }
        // SAFETY: `end` is the end of an extent of talc, which starts at `start` and has no
        // blocks, as the check above has shown.
        let new_end = unsafe { self.0.truncate(end, start.as_ptr()) };
        if new_end.is_none() {
            // Talc has given up the whole extent.
            let first = (start.as_ptr() as usize - PHYS_VIRT_OFFSET) / PAGE_SIZE;
            let count = (end.as_ptr() as usize - start.as_ptr() as usize) / PAGE_SIZE;
            let frames = self.0.source.frames;
            frames.free_run(first, count, UsageKind::RustHeap);
        }
    }
}

/// A run of frames that talc has, by the addresses of its first byte and of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    start: NonNull<u8>,
    end: NonNull<u8>,
}

/// Where talc gets its memory from.
struct FrameSource<H: 'static> {
    frames: &'static FrameAllocator<H>,
    /// The extent that has just become empty.
    emptied: Option<Extent>,
    /// An extent that was empty when it was last looked at.
    spare: Option<Extent>,
}

// SAFETY: the pointers are to memory that this value's talc owns exclusively, and the frame
// allocator can be shared between harts.
unsafe impl<H: Sync> Send for FrameSource<H> {}

impl<H> core::fmt::Debug for FrameSource<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FrameSource")
            .field("spare", &self.spare)
            .finish_non_exhaustive()
    }
}

// SAFETY: neither method calls the heap: memory comes from the frame allocator. `acquire`
// returns `Ok` only if talc got more memory.
unsafe impl<H: Harts> Source for FrameSource<H> {
    const TRACK_HEAP_END: bool = true;

    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let frames = talc.source.frames;
        let run = |count| Some((frames.alloc_run(count, 1, UsageKind::RustHeap)?, count));
        let (first, count) = if talc.is_metadata_established() {
            // Each end of an extent has a chunk unit for a tag. Alignment may skip bytes.
            let bytes = layout.size() + layout.align() + 2 * CHUNK_UNIT;
            let least = bytes.div_ceil(PAGE_SIZE);
            run(least.max(GROWTH)).or_else(|| run(least)).ok_or(())?
        } else {
            // The first extent holds talc's own lists and is never freed, so it has no room
            // for blocks. Talc calls `acquire` again at once.
            const { assert!(talc::min_first_heap_size::<B>() <= PAGE_SIZE) };
            run(1).ok_or(())?
        };
        let start = (first * PAGE_SIZE + PHYS_VIRT_OFFSET) as *mut u8;
        // SAFETY: the frames were just allocated, and talc owns them until `free_if_empty`
        // takes them away.
        match unsafe { talc.claim(start, count * PAGE_SIZE) } {
            Some(_) => Ok(()),
            None => {
                frames.free_run(first, count, UsageKind::RustHeap);
                Err(())
            }
        }
    }

    /// Notes that an extent has become empty, for `TalcHeap::dealloc`. Talc calls this whenever
    /// the free space at the end of an extent grows: it is now `free_start..end`. If `is_whole`,
    /// no block is left in the extent. The result is the extent's new end, which stays as it is.
    unsafe fn resize(&mut self, free_start: *mut u8, end: *mut u8, is_whole: bool) -> *mut u8 {
        if is_whole {
            // `free_start` is after the tag, which is less than a page of the first frame.
            let start = free_start.map_addr(|addr| addr & !(PAGE_SIZE - 1));
            let extent = NonNull::new(start).zip(NonNull::new(end));
            self.emptied = extent.map(|(start, end)| Extent { start, end });
        }
        end
    }
}
