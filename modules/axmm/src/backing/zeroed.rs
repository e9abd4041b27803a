//! Runs of frames that are full of zeroes.

use axalloc::{FrameRun, Frames, UsageKind, alloc_frames};
use memory_addr::{PAGE_SIZE_4K, PhysAddr};

use crate::machine::Machine;

/// The number of frames that are filled between two calls of [`Machine::poll`].
pub const FRAMES_PER_POLL: usize = 64;

/// Returns `count` contiguous frames, a power of two, full of zeroes. The run is aligned to its
/// own size. `None` if there is no such run.
pub fn aligned_zeroed_run<M: Machine>(count: usize) -> Option<Frames> {
    let mut frames = alloc_frames(count, count * PAGE_SIZE_4K, UsageKind::VirtMem).ok()?;
    zero::<M>(&mut frames);
    Some(frames)
}

/// Fills frames with zeroes.
pub fn zero<M: Machine>(frames: &mut Frames) {
    frames.zero_in_pieces(FRAMES_PER_POLL, M::poll);
}

/// Passes each frame of a run to the page table, which then frees them one by one. Returns the
/// first physical address, and the number of frames.
pub fn into_page_table(run: Frames) -> (PhysAddr, usize) {
    let count = run.count();
    (FrameRun::from(run).into_raw(), count)
}
