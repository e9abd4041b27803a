//! The kernel heap.
//!
//! ```text
//!   1 byte                  4 KiB                      32 KiB
//!     | a hart's magazines    | talc, under a lock        | frames of their own
//!     |  └─ when empty: half a magazine of blocks from talc
//!     |                       |  └─ when it has none: a run of frames
//! ```
//!
//! The way a block goes depends on its layout alone, which is the same when it is
//! freed.

pub mod classes;
mod grown;

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};

use crate::hart::{Harts, Lock};
use crate::pool::FramePool;
use crate::{UsageKind, fault};
use classes::{Class, KEPT};
use grown::Grown;

/// Requests of at least this many bytes, or of an alignment this large, take
/// whole frames.
const WHOLE_FRAMES: usize = 32 * 1024;

/// How many blocks go to or from a magazine at a time.
const BATCH: usize = KEPT / 2;

/// The heap over a pool of frames.
pub struct Heap<H: Harts + 'static> {
    pool: &'static FramePool<H>,
    grown: Lock<Grown<H>>,
}

fn takes_frames(layout: Layout) -> bool {
    layout.size() >= WHOLE_FRAMES || layout.align() >= WHOLE_FRAMES
}

fn frames_of(size: usize) -> usize {
    size.div_ceil(PAGE_SIZE).max(1)
}

impl<H: Harts> Heap<H> {
    /// An empty heap that takes its frames from `pool`.
    pub const fn new(pool: &'static FramePool<H>) -> Self {
        Self {
            pool,
            grown: Lock::new(Grown::new(pool)),
        }
    }

    /// Gives the blocks all harts keep back, and the frames that are free then.
    #[cold]
    pub fn shrink(&self) {
        let harts = self.pool.harts();
        harts.for_each(|stock| {
            for (class, blocks) in stock.heap.all() {
                blocks.steal(|block| self.give_back(block, class));
            }
        });
        self.grown.lock().shrink();
    }

    fn give_back(&self, block: usize, class: Class) {
        let block = ptr::with_exposed_provenance_mut(block);
        if let Some(block) = NonNull::new(block) {
            // SAFETY: what is in a magazine was taken for its class's layout, and
            // is nobody's.
            unsafe { self.grown.lock().dealloc(block, class.layout()) };
        }
    }

    #[inline]
    fn alloc_small(&self, class: Class) -> *mut u8 {
        let harts = self.pool.harts();
        let block = harts.with_this(|stock| stock.heap.of(class).pop());
        ptr::with_exposed_provenance_mut(match block {
            Some(block) => block,
            None => self.refill(class),
        })
    }

    #[inline]
    fn free_small(&self, block: *mut u8, class: Class) {
        let block = block.expose_provenance();
        let harts = self.pool.harts();
        let pushed = harts.with_this(|stock| stock.heap.of(class).push(block));
        if let Err(block) = pushed {
            self.flush(class, block);
        }
    }

    /// Takes half a magazine of blocks, and answers with one more; 0 for none.
    #[cold]
    fn refill(&self, class: Class) -> usize {
        let one = self.alloc_grown(class.layout()).expose_provenance();
        let mut more = [0; BATCH];
        if one != 0 {
            let mut grown = self.grown.lock();
            more.fill_with(|| {
                let block = grown.alloc(class.layout());
                block.map_or(0, |block| block.as_ptr().expose_provenance())
            });
        }
        // An interrupt may have filled the magazine meanwhile.
        let room = |block| {
            let harts = self.pool.harts();
            harts.with_this(|stock| stock.heap.of(class).push(block))
        };
        for block in more {
            if block != 0 && room(block).is_err() {
                self.give_back(block, class);
            }
        }
        one
    }

    /// Gives half a magazine of blocks back, and `block` too.
    #[cold]
    fn flush(&self, class: Class, block: usize) {
        self.give_back(block, class);
        for _ in 1..BATCH {
            let harts = self.pool.harts();
            if let Some(block) = harts.with_this(|stock| stock.heap.of(class).pop()) {
                self.give_back(block, class);
            }
        }
    }

    fn alloc_grown(&self, layout: Layout) -> *mut u8 {
        let alloc = || self.grown.lock().alloc(layout);
        let block = alloc().or_else(|| {
            self.shrink();
            alloc()
        });
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    fn alloc_frames(&self, layout: Layout) -> *mut u8 {
        let (count, align) = (frames_of(layout.size()), layout.align().div_ceil(PAGE_SIZE));
        if !self.pool.could_have(count, align) {
            return ptr::null_mut();
        }
        let alloc = || self.pool.alloc_run(count, align, UsageKind::RustHeap);
        let first = alloc().or_else(|| {
            self.shrink();
            alloc()
        });
        first.map_or(ptr::null_mut(), |first| {
            ptr::with_exposed_provenance_mut(first * PAGE_SIZE + PHYS_VIRT_OFFSET)
        })
    }
}

// SAFETY: the layout decides alike at both ends where a block is from, and each
// of the three places gives out memory that nobody else has.
unsafe impl<H: Harts> GlobalAlloc for Heap<H> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            _ if fault::fails(self.pool.harts()) => ptr::null_mut(),
            Some(class) => self.alloc_small(class),
            None if takes_frames(layout) => self.alloc_frames(layout),
            None => self.alloc_grown(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(class) = Class::of(layout) {
            self.free_small(block, class);
        } else if takes_frames(layout) {
            let first = (block.addr() - PHYS_VIRT_OFFSET) / PAGE_SIZE;
            let count = frames_of(layout.size());
            self.pool.free_run(first, count, UsageKind::RustHeap);
        } else if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller got the block from `alloc` with this layout,
            // which took it from there.
            unsafe { self.grown.lock().dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the alignment is the layout's, the size the caller's.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's promise.
        if unsafe { self.resizes_in_place(block, layout, wanted) } {
            return block;
        }
        // SAFETY: the caller's promise; the new block is another one, and both
        // are as long as what is copied.
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
    /// Makes `block` fit `wanted` where it is. Answers whether that could be.
    ///
    /// # Safety
    ///
    /// It is from `alloc` for `layout`, which has the alignment of `wanted`.
    unsafe fn resizes_in_place(&self, block: *mut u8, layout: Layout, wanted: Layout) -> bool {
        let (old, new) = (Class::of(layout), Class::of(wanted));
        match (takes_frames(layout), takes_frames(wanted)) {
            _ if old.is_some() || new.is_some() => old == new,
            (true, true) => {
                let (old, new) = (frames_of(layout.size()), frames_of(wanted.size()));
                if new < old {
                    let first = (block.addr() - PHYS_VIRT_OFFSET) / PAGE_SIZE;
                    let kind = UsageKind::RustHeap;
                    self.pool.free_run(first + new, old - new, kind);
                }
                new <= old
            }
            (false, false) => NonNull::new(block).is_some_and(|block| {
                let mut grown = self.grown.lock();
                // SAFETY: the caller's promise; both sizes are of this place.
                unsafe { grown.resize(block, layout, wanted.size()) }
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
