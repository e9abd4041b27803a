//! This machine's frames and heap.

use core::ops::Range;

use axerrno::AxResult;
#[cfg(target_os = "none")]
pub use axhal::mem::zero_pages;

use crate::hart::ThisMachine;
use crate::heap::Heap;
#[cfg(not(target_os = "none"))]
pub use crate::host::zero_pages;
use crate::pool::FramePool;
use crate::redzone::Guarded;
use crate::usage::Usage;

/// All frames of this machine.
pub static FRAMES: FramePool<ThisMachine> = FramePool::new(ThisMachine);

/// The kernel's heap. On a host it is there, but the process's own is used.
#[cfg_attr(target_os = "none", global_allocator)]
pub static HEAP: Guarded<Heap<ThisMachine>> = Guarded::new(Heap::new(&FRAMES));

/// Gives RAM to this module, ranges of physical addresses in bytes, in any order.
/// Bytes that make no whole frame are left alone, as is RAM beyond 512 GiB.
///
/// Of the RAM, 8 bytes for each frame hold what is known of it; holes between the
/// ranges that begin and end in one GiB count as frames here. So all ranges that
/// have a part of one GiB should come in one call: what a later call brings is
/// taken only as far as it lies between those.
///
/// # Errors
///
/// `NoMemory` if no range has room for all of that; nothing has been taken then.
///
/// # Safety
///
/// The ranges are RAM that the linear mapping maps, readable and writable, from
/// now on for good; nobody else uses it, and it does not overlap. Nobody else
/// calls this at the same time.
pub unsafe fn add_memory(ranges: &[Range<usize>]) -> AxResult {
    // SAFETY: the caller's promise.
    unsafe { FRAMES.add(ranges) }
}

/// The present use of all frames. Exact when no hart takes or frees any
/// meanwhile, and never far off.
pub fn usage() -> Usage {
    FRAMES.usage()
}

/// How many bytes the latest heap request was for that was refused on this hart.
pub fn last_refused() -> usize {
    HEAP.inner().last_refused()
}

/// The longest run of frames, a power of two, that can be had in one piece.
pub fn largest_free_run() -> usize {
    reclaim();
    FRAMES.largest()
}

/// Gives all frames back that the heap keeps for later.
#[cold]
pub fn reclaim() {
    HEAP.inner().shrink();
}
