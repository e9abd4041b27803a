//! The kernel's heap: [`Heap`] with red zones, which runs the shrinker before it refuses a
//! request, and remembers what it refused.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::Ordering;

use crate::frame_allocator::FrameAllocator;
use crate::hart_cache::HartCache;
use crate::harts::Harts;
use crate::heap::Heap;
use crate::machine_harts::MachineHarts;
use crate::redzone::Guarded;
use crate::shrinker::run_shrinker;

/// The heap of this machine's kernel.
pub(crate) struct KernelHeap(Guarded<Heap<MachineHarts>>);

impl KernelHeap {
    /// An empty heap that takes its frames from `frames`.
    pub(crate) const fn new(frames: &'static FrameAllocator<MachineHarts>) -> Self {
        Self(Guarded::new(Heap::new(frames)))
    }

    /// Frees the blocks that harts cache, and the frames that become free by that.
    pub(crate) fn shrink(&self) {
        self.0.inner().shrink();
    }

    /// Calls `alloc`, which asks for `size` bytes. If it returns null, runs the shrinker and
    /// tries again.
    #[inline]
    fn or_run_shrinker(&self, size: usize, alloc: impl Fn() -> *mut u8) -> *mut u8 {
        match alloc() {
            block if block.is_null() => Self::run_shrinker_and_retry(size, alloc),
            block => block,
        }
    }

    #[cold]
    fn run_shrinker_and_retry(size: usize, alloc: impl Fn() -> *mut u8) -> *mut u8 {
        let block = match run_shrinker() {
            true => alloc(),
            false => ptr::null_mut(),
        };
        if block.is_null() {
            set_last_refused(size);
        }
        block
    }
}

// SAFETY: every block is one of the inner heap, which gets the same arguments.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises that the size is not 0.
        self.or_run_shrinker(layout.size(), || unsafe { self.0.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that this heap gave the block for this layout, so the
        // inner heap did.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that this heap gave the block for this layout, so the
        // inner heap did. A call that returns null leaves the block as it was, so the closure
        // can be called twice.
        self.or_run_shrinker(size, || unsafe { self.0.realloc(block, layout, size) })
    }
}

#[cold]
fn set_last_refused(size: usize) {
    // Relaxed: only this hart uses the value.
    let store = |cache: &HartCache| cache.last_refused.store(size, Ordering::Relaxed);
    MachineHarts.with_cache(store);
}

/// Returns the size in bytes of the last heap request that was refused on this hart, or 0.
pub fn last_refused() -> usize {
    // Relaxed: only this hart uses the value.
    let load = |cache: &HartCache| cache.last_refused.load(Ordering::Relaxed);
    MachineHarts.with_cache(load)
}
