//! The heap: blocks of any size, out of frames of a [`FrameAllocator`].
//!
//! ```text
//!   1 byte                  4 KiB                      32 KiB
//!     | a hart's magazines    | talc, under a lock        | frames of their own
//!     |  └─ when empty: half a magazine of blocks from talc
//!     |                       |  └─ when it has none: a run of frames
//! ```
//!
//! Which of the three a block comes from depends on its layout alone. The layout is the same
//! when the block is freed, so a block needs no header.

mod talc_heap;

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};

use crate::fault;
use crate::frame_allocator::FrameAllocator;
use crate::harts::Harts;
use crate::lock::Lock;
use crate::size_class::{MAX_BLOCKS, SizeClass};
use crate::usage::UsageKind;
use talc_heap::TalcHeap;

/// Requests of this size or alignment in bytes, or a larger one, get frames of their own.
const WHOLE_FRAMES: usize = 32 * 1024;

/// The number of blocks that move between a magazine and talc at a time.
const BATCH: usize = MAX_BLOCKS / 2;

/// A heap over a frame allocator.
pub(crate) struct Heap<H: Harts + 'static> {
    frames: &'static FrameAllocator<H>,
    talc: Lock<TalcHeap<H>>,
}

/// Returns whether blocks of `layout` are frames of their own.
fn takes_whole_frames(layout: Layout) -> bool {
    layout.size() >= WHOLE_FRAMES || layout.align() >= WHOLE_FRAMES
}

/// Returns how many frames a block of `size` bytes takes.
fn frames_for(size: usize) -> usize {
    size.div_ceil(PAGE_SIZE).max(1)
}

impl<H: Harts> Heap<H> {
    /// An empty heap that takes its memory from `frames`.
    pub(crate) const fn new(frames: &'static FrameAllocator<H>) -> Self {
        Self {
            frames,
            talc: Lock::new(TalcHeap::new(frames)),
        }
    }

    /// Frees the blocks that harts cache, and the frames that become free by that.
    #[cold]
    pub(crate) fn shrink(&self) {
        let harts = self.frames.harts();
        harts.for_each_cache(|cache| {
            for (class, blocks) in cache.blocks.all() {
                blocks.steal(|block| self.free_to_talc(block, class));
            }
        });
        self.talc.lock().shrink();
    }

    /// Frees a block that was taken out of a magazine of `class`.
    fn free_to_talc(&self, block: usize, class: SizeClass) {
        let block = ptr::with_exposed_provenance_mut(block);
        if let Some(block) = NonNull::new(block) {
            // SAFETY: all blocks in a magazine of `class` were allocated from talc with this
            // layout. A block that was taken out of a magazine has no other user.
            unsafe { self.talc.lock().dealloc(block, class.layout()) };
        }
    }

    #[inline]
    fn alloc_small(&self, class: SizeClass) -> *mut u8 {
        let harts = self.frames.harts();
        let block = harts.with_cache(|cache| cache.blocks.of(class).pop());
        ptr::with_exposed_provenance_mut(match block {
            Some(block) => block,
            None => self.refill(class),
        })
    }

    #[inline]
    fn free_small(&self, block: *mut u8, class: SizeClass) {
        let block = block.expose_provenance();
        let harts = self.frames.harts();
        let pushed = harts.with_cache(|cache| cache.blocks.of(class).push(block));
        if let Err(block) = pushed {
            self.free_half(class, block);
        }
    }

    /// Allocates a block from talc, and more for half of this hart's magazine. Returns the
    /// block's address, or 0 if there is no memory.
    #[cold]
    fn refill(&self, class: SizeClass) -> usize {
        let block = self.alloc_from_talc(class.layout()).expose_provenance();
        let mut more = [0; BATCH];
        if block != 0 {
            let mut talc = self.talc.lock();
            more.fill_with(|| {
                let block = talc.alloc(class.layout());
                block.map_or(0, |block| block.as_ptr().expose_provenance())
            });
        }
        // An interrupt handler may have filled the magazine meanwhile.
        let push = |block| {
            let harts = self.frames.harts();
            harts.with_cache(|cache| cache.blocks.of(class).push(block))
        };
        for block in more {
            if block != 0 && push(block).is_err() {
                self.free_to_talc(block, class);
            }
        }
        block
    }

    /// Frees `block`, and half of this hart's full magazine, to talc.
    #[cold]
    fn free_half(&self, class: SizeClass, block: usize) {
        self.free_to_talc(block, class);
        for _ in 1..BATCH {
            let harts = self.frames.harts();
            if let Some(block) = harts.with_cache(|cache| cache.blocks.of(class).pop()) {
                self.free_to_talc(block, class);
            }
        }
    }

    fn alloc_from_talc(&self, layout: Layout) -> *mut u8 {
        let alloc = || self.talc.lock().alloc(layout);
        let block = alloc().or_else(|| {
            self.shrink();
            alloc()
        });
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    fn alloc_whole_frames(&self, layout: Layout) -> *mut u8 {
        let (count, align) = (
            frames_for(layout.size()),
            layout.align().div_ceil(PAGE_SIZE),
        );
        if !self.frames.fits_in_memory(count, align) {
            return ptr::null_mut();
        }
        let alloc = || self.frames.alloc_run(count, align, UsageKind::RustHeap);
        let first = alloc().or_else(|| {
            self.shrink();
            alloc()
        });
        first.map_or(ptr::null_mut(), |first| {
            ptr::with_exposed_provenance_mut(first * PAGE_SIZE + PHYS_VIRT_OFFSET)
        })
    }
}

// SAFETY: a block comes from a magazine, from talc or from the frame allocator, and each of them
// gives out memory that nothing else uses. `dealloc` decides by the layout, as `alloc` did, so a
// block is freed to where it came from.
unsafe impl<H: Harts> GlobalAlloc for Heap<H> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match SizeClass::of(layout) {
            _ if fault::next_fails(self.frames.harts()) => ptr::null_mut(),
            Some(class) => self.alloc_small(class),
            None if takes_whole_frames(layout) => self.alloc_whole_frames(layout),
            None => self.alloc_from_talc(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(class) = SizeClass::of(layout) {
            self.free_small(block, class);
        } else if takes_whole_frames(layout) {
            let first = (block.addr() - PHYS_VIRT_OFFSET) / PAGE_SIZE;
            let count = frames_for(layout.size());
            self.frames.free_run(first, count, UsageKind::RustHeap);
        } else if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller promises that `alloc` gave the block for this layout. For such
            // a layout `alloc` takes a block from talc.
            unsafe { self.talc.lock().dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the alignment is that of a layout, and the caller promises that the size is
        // valid with it.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that `alloc` gave the block for `layout`, and `wanted`
        // has the same alignment.
        if unsafe { self.resize_in_place(block, layout, wanted) } {
            return block;
        }
        // SAFETY: the caller promises that `size` is not 0 and that `alloc` gave the block for
        // `layout`. The new block does not overlap it, and both have the bytes that are copied.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

impl<H: Harts> Heap<H> {
    /// Makes `block` fit `wanted` without moving it. Returns whether that was possible.
    ///
    /// # Safety
    ///
    /// `alloc` gave the block for `layout`, which has the alignment of `wanted`.
    unsafe fn resize_in_place(&self, block: *mut u8, layout: Layout, wanted: Layout) -> bool {
        let (old, new) = (SizeClass::of(layout), SizeClass::of(wanted));
        match (takes_whole_frames(layout), takes_whole_frames(wanted)) {
            _ if old.is_some() || new.is_some() => old == new,
            (true, true) => {
                let (old, new) = (frames_for(layout.size()), frames_for(wanted.size()));
                if new < old {
                    let first = (block.addr() - PHYS_VIRT_OFFSET) / PAGE_SIZE;
                    let kind = UsageKind::RustHeap;
                    self.frames.free_run(first + new, old - new, kind);
                }
                new <= old
            }
            (false, false) => NonNull::new(block).is_some_and(|block| {
                let mut talc = self.talc.lock();
                // SAFETY: the caller promises that `alloc` gave the block for `layout`. For
                // both layouts `alloc` takes blocks from talc, so the sizes are not 0.
                unsafe { talc.resize(block, layout, wanted.size()) }
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
