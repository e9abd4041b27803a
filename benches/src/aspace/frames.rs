//! Frames for the crates that are not ours: a stack of free ones, each with the
//! next in its first word. No allocator takes and gives faster, so the crates are
//! not charged for one. Ours pays for its own.

use std::alloc::{Layout, alloc};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axbench_aspace::PAGE;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::PagingHandler;

/// As much memory as ours has.
const SIZE: usize = 128 << 20;

/// The frame on top of the stack; 0 for none. One thread alone uses it.
static TOP: AtomicUsize = AtomicUsize::new(0);

/// The frames. A physical address is where it lies in this process.
pub struct Frames;

impl Frames {
    /// Puts 128 MiB on the stack, for good. `None` if there is no memory.
    pub fn new() -> Option<Self> {
        let layout = Layout::from_size_align(SIZE, PAGE).ok()?;
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) }.expose_provenance();
        if memory == 0 {
            return None;
        }
        let frames = (memory..memory + SIZE).step_by(PAGE);
        frames.rev().for_each(give);
        Some(Self)
    }
}

/// One frame, with whatever it holds.
#[inline]
pub fn take() -> Option<PhysAddr> {
    let frame = TOP.load(Relaxed);
    if frame == 0 {
        return None;
    }
    // SAFETY: what is on the stack is a frame of ours that nobody has.
    let next = unsafe { std::ptr::with_exposed_provenance::<usize>(frame).read() };
    TOP.store(next, Relaxed);
    Some(PhysAddr::from_usize(frame))
}

/// One frame full of zeroes.
#[inline]
pub fn take_zeroed() -> Option<PhysAddr> {
    let frame = take()?;
    let bytes = std::ptr::with_exposed_provenance_mut::<u8>(frame.as_usize());
    // SAFETY: a frame off the stack is nobody else's.
    unsafe { bytes.write_bytes(0, PAGE) };
    Some(frame)
}

/// Gives a frame back.
#[inline]
pub fn put(frame: PhysAddr) {
    give(frame.as_usize());
}

#[inline]
fn give(frame: usize) {
    // SAFETY: the caller has had the frame for itself, and lets go of it.
    unsafe { std::ptr::with_exposed_provenance_mut::<usize>(frame).write(TOP.load(Relaxed)) };
    TOP.store(frame, Relaxed);
}

impl PagingHandler for Frames {
    fn alloc_frames(num: usize, _: usize) -> Option<PhysAddr> {
        if num == 1 { take() } else { None }
    }

    fn dealloc_frames(frame: PhysAddr, _: usize) {
        put(frame);
    }

    fn phys_to_virt(frame: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(frame.as_usize())
    }
}
