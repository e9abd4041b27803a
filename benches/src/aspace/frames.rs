//! Frames for the crates that are not ours: a stack of free frames, each of which holds the
//! address of the next in its first word.
//!
//! No allocator is faster, so the figures of these crates hold almost no allocator's cost. Our
//! own figures include our allocator.

use std::alloc::{Layout, alloc};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axbench_aspace::PAGE;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::PagingHandler;

/// The size of the memory in bytes, the same as our allocator has.
const SIZE: usize = 128 << 20;

/// The address of the frame on top of the stack; 0 if the stack is empty. Only one thread
/// uses the stack, so all accesses are relaxed.
static TOP: AtomicUsize = AtomicUsize::new(0);

/// The frames on the stack. A frame's physical address is its address in this process.
pub struct Frames;

impl Frames {
    /// Puts 128 MiB of frames on the stack. They are never freed. `None` if there is no memory.
    pub fn new() -> Option<Self> {
        let layout = Layout::from_size_align(SIZE, PAGE).ok()?;
        // SAFETY: the layout's size is `SIZE`, which is not zero.
        let memory = unsafe { alloc(layout) }.expose_provenance();
        if memory == 0 {
            return None;
        }
        let frames = (memory..memory + SIZE).step_by(PAGE);
        frames.rev().for_each(give);
        Some(Self)
    }
}

/// Takes one frame, which is not zeroed. `None` if the stack is empty.
#[inline]
pub fn take() -> Option<PhysAddr> {
    let frame = TOP.load(Relaxed);
    if frame == 0 {
        return None;
    }
    // SAFETY: a frame on the stack was allocated by `Frames::new` and is free, so its first
    // word is the link that `give` has written.
    let next = unsafe { std::ptr::with_exposed_provenance::<usize>(frame).read() };
    TOP.store(next, Relaxed);
    Some(PhysAddr::from_usize(frame))
}

/// Takes one zeroed frame. `None` if the stack is empty.
#[inline]
pub fn take_zeroed() -> Option<PhysAddr> {
    let frame = take()?;
    let bytes = std::ptr::with_exposed_provenance_mut::<u8>(frame.as_usize());
    // SAFETY: `take` has just removed this frame of `PAGE` bytes from the stack, so the caller
    // owns it exclusively.
    unsafe { bytes.write_bytes(0, PAGE) };
    Some(frame)
}

/// Frees a frame that was taken from the stack.
#[inline]
pub fn put(frame: PhysAddr) {
    give(frame.as_usize());
}

#[inline]
fn give(frame: usize) {
    // SAFETY: the callers own the frame exclusively and do not use it afterwards: `new` has
    // allocated it, and the page table passes frames to `put` that it no longer maps.
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
