//! The frames and the heap of the machine that this runs on.

use core::ops::Range;
#[cfg(feature = "hal")]
use core::ptr;

#[cfg(feature = "hal")]
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::AxResult;

use crate::frame_allocator::FrameAllocator;
#[cfg(feature = "hal")]
use crate::hart_cache::HartCache;
use crate::kernel_heap::KernelHeap;
use crate::machine_harts::MachineHarts;
#[cfg(feature = "hal")]
use crate::machine_harts::install_cache;
use crate::shrinker::run_shrinker;
use crate::usage::Usage;
#[cfg(feature = "hal")]
use crate::usage::UsageKind;

/// All frames of this machine.
pub(crate) static FRAMES: FrameAllocator<MachineHarts> = FrameAllocator::new(MachineHarts);

/// The kernel's heap. A process that links std uses its own heap instead, and has this one for
/// tests and benchmarks.
#[cfg_attr(feature = "global-allocator", global_allocator)]
pub(crate) static HEAP: KernelHeap = KernelHeap::new(&FRAMES);

/// The number of frames that a hart's cache takes.
#[cfg(feature = "hal")]
const CACHE_FRAMES: usize = size_of::<HartCache>().div_ceil(PAGE_SIZE);

/// Gives this hart a cache of free frames and heap blocks. Each hart calls this once, before it
/// allocates or frees. The first hart calls it before other harts run.
///
/// # Errors
///
/// Returns `NoMemory` if there is no memory for the cache, in which case this hart must not
/// continue. The first hart's call never fails, since its cache is in static memory.
#[cfg(feature = "hal")]
pub fn init_hart() -> AxResult {
    let is_new = install_cache(new_cache)?;
    if is_new {
        FRAMES.count(UsageKind::Metadata, CACHE_FRAMES as isize);
    }
    Ok(())
}

/// Makes an empty cache, in frames of its own. The frames are not counted yet, because the
/// hart's counters are in the cache that it does not have yet.
#[cfg(feature = "hal")]
fn new_cache() -> Option<&'static HartCache> {
    let first = FRAMES.alloc_uncounted(CACHE_FRAMES, 1)?;
    let address = first * PAGE_SIZE + PHYS_VIRT_OFFSET;
    let cache: *mut HartCache = ptr::with_exposed_provenance_mut(address);
    // SAFETY: `CACHE_FRAMES` contiguous frames were just allocated, are never freed, and are
    // mapped at this address by the linear mapping.
    unsafe {
        cache.write(HartCache::new());
        Some(&*cache)
    }
}

/// Adds RAM for frames and the heap: ranges of physical addresses in bytes, in any order. Parts
/// of frames at the ends of ranges are not used. RAM above 512 GiB is not used either.
///
/// Some of the RAM is used for metadata, 8 bytes a frame. The first call that adds RAM in a given
/// GiB of addresses makes the metadata of that GiB: for all frames from the first in the call's
/// ranges to the last, with the holes between. A later call adds only those frames of that GiB
/// that have metadata already. So all RAM of a GiB should be added by one call.
///
/// # Errors
///
/// Returns `NoMemory` if no range has room for all of the metadata. Nothing was added then.
///
/// # Safety
///
/// - The ranges are RAM that the linear mapping maps, readable and writable, from now on.
/// - The ranges do not overlap each other or ranges that were added before.
/// - The caller gives the RAM to this crate, and nothing else accesses it.
/// - No other call of this function runs at the same time.
pub unsafe fn add_memory(ranges: &[Range<usize>]) -> AxResult {
    // SAFETY: the requirements of `FrameAllocator::add` are those that this function's caller
    // has promised to meet.
    unsafe { FRAMES.add(ranges) }
}

/// Returns the usage of all frames. It is exact if no hart takes or frees frames meanwhile.
/// Otherwise it is off by those frames.
pub fn usage() -> Usage {
    FRAMES.usage()
}

/// Returns the number of frames of the longest run that can be allocated now, a power of two.
/// Cached memory is freed first.
pub fn largest_free_run() -> usize {
    reclaim();
    FRAMES.largest_free_run()
}

/// Frees memory that the shrinker's module and the heap cache. The frames that harts cache are
/// not freed here: an allocation from `FRAMES` has done that before it fails.
#[cold]
pub(crate) fn reclaim() {
    run_shrinker();
    HEAP.shrink();
}
