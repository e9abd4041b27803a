//! The kernel heap: `#[global_allocator]`.
//!
//! Small requests go to a two-level segregated fit ([`rlsf`], constant time),
//! which is given more frames whenever it cannot serve one. Requests from
//! [`WHOLE_FRAMES`] on take frames of their own and give them back when freed.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use axconfig::PAGE_SIZE;
use kspin::SpinNoIrq;
use rlsf::Tlsf;

use crate::{Frames, PHYS_VIRT_OFFSET, UsageKind};

/// Requests of at least this many bytes, or of an alignment this large, take
/// whole frames.
const WHOLE_FRAMES: usize = 32 * 1024;

/// How much the heap grows by.
const GROWTH: usize = 128 * 1024;

/// Size classes from 32 bytes to above [`GROWTH`], each in 16 steps.
type Pool = Tlsf<'static, u32, u16, 14, 16>;

struct Heap(SpinNoIrq<Pool>);

#[global_allocator]
static HEAP: Heap = Heap(SpinNoIrq::new(Pool::new()));

fn takes_frames(layout: Layout) -> bool {
    layout.size() >= WHOLE_FRAMES || layout.align() >= WHOLE_FRAMES
}

fn frames_of(layout: Layout) -> usize {
    layout.size().div_ceil(PAGE_SIZE).max(1)
}

/// Memory for `layout` from whole frames; null if there is none.
fn alloc_frames(layout: Layout) -> *mut u8 {
    let align = layout.align().max(PAGE_SIZE);
    match Frames::new(frames_of(layout), align, UsageKind::Heap) {
        Ok(frames) => (frames.into_raw().as_usize() + PHYS_VIRT_OFFSET) as *mut u8,
        Err(_) => ptr::null_mut(),
    }
}

impl Heap {
    /// Gives the pool [`GROWTH`] more bytes. Answers whether there were any.
    fn grow(pool: &mut Pool) -> bool {
        let Ok(frames) = Frames::new(GROWTH / PAGE_SIZE, PAGE_SIZE, UsageKind::Heap) else {
            return false;
        };
        let start = (frames.into_raw().as_usize() + PHYS_VIRT_OFFSET) as *mut u8;
        let Some(block) = NonNull::new(ptr::slice_from_raw_parts_mut(start, GROWTH)) else {
            return false;
        };
        // SAFETY: the frames are nobody else's, and are the pool's for good.
        unsafe { pool.insert_free_block_ptr(block) }.is_some()
    }
}

// SAFETY: blocks come from the pool, under its lock, or are frames of their own,
// which `layout` tells apart in the same way at both ends.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if takes_frames(layout) {
            return alloc_frames(layout);
        }
        let mut pool = self.0.lock();
        let mut block = pool.allocate(layout);
        if block.is_none() && Self::grow(&mut pool) {
            block = pool.allocate(layout);
        }
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if takes_frames(layout) {
            let start = (block as usize - PHYS_VIRT_OFFSET).into();
            // SAFETY: `alloc` gave these frames away by `into_raw`.
            drop(unsafe { Frames::from_raw(start, frames_of(layout), UsageKind::Heap) });
        } else if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller got the block from `alloc` with this layout,
            // which took it from the pool.
            unsafe { self.0.lock().deallocate(block, layout.align()) };
        }
    }
}
