//! This machine's frames and heap.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr;
use core::sync::atomic::Ordering;

use axerrno::AxResult;
#[cfg(feature = "hal")]
pub use axhal::mem::zero_pages;

use crate::hart::{Harts, Lock, ThisMachine};
use crate::heap::Heap;
#[cfg(not(feature = "hal"))]
pub use crate::host::zero_pages;
use crate::pool::FramePool;
use crate::redzone::Guarded;
use crate::stock::Stock;
use crate::usage::Usage;

/// All frames of this machine.
pub static FRAMES: FramePool<ThisMachine> = FramePool::new(ThisMachine);

/// The kernel's heap. In a process with std it is there, but the process's own is used.
#[cfg_attr(feature = "global-allocator", global_allocator)]
pub static HEAP: KernelHeap = KernelHeap(Guarded::new(Heap::new(&FRAMES)));

/// A heap that remembers what it has refused.
pub struct KernelHeap(Guarded<Heap<ThisMachine>>);

impl KernelHeap {
    /// A block of `size` bytes from `alloc`, which is asked once more if it has none and
    /// memory that others keep comes back.
    #[inline]
    fn noted(&self, size: usize, alloc: impl Fn() -> *mut u8) -> *mut u8 {
        match alloc() {
            block if block.is_null() => Self::refused(size, alloc),
            block => block,
        }
    }

    #[cold]
    fn refused(size: usize, alloc: impl Fn() -> *mut u8) -> *mut u8 {
        let block = match give_back_kept() {
            true => alloc(),
            false => ptr::null_mut(),
        };
        if block.is_null() {
            note_refused(size);
        }
        block
    }
}

// SAFETY: all is the heap's own doing.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.noted(layout.size(), || unsafe { self.0.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise; a block that could not be resized stays as it is.
        self.noted(size, || unsafe { self.0.realloc(block, layout, size) })
    }
}

#[cold]
fn note_refused(size: usize) {
    let note = |stock: &Stock| stock.refused.store(size, Ordering::Relaxed);
    FRAMES.harts().with_this(note);
}

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
    let refused = |stock: &Stock| stock.refused.load(Ordering::Relaxed);
    FRAMES.harts().with_this(refused)
}

/// The longest run of frames, a power of two, that can be had in one piece.
pub fn largest_free_run() -> usize {
    reclaim();
    FRAMES.largest()
}

/// Gives all frames back that the heap and others keep for later.
#[cold]
pub fn reclaim() {
    give_back_kept();
    HEAP.0.inner().shrink();
}

/// Gives back memory that another module keeps. See [`set_keeper`].
static KEEPER: Lock<Option<fn() -> bool>> = Lock::new(None);

/// Registers a function that gives memory back which its module keeps for later, and
/// returns whether there was any. It is called where no memory is found, and no lock of
/// the kernel is held.
pub fn set_keeper(give_back: fn() -> bool) {
    *KEEPER.lock() = Some(give_back);
}

/// Lets the [keeper](set_keeper) give memory back. Returns whether it had any. With
/// interrupts out nothing is given back: this hart may hold a lock of the kernel, each of
/// which keeps them out.
#[cold]
pub fn give_back_kept() -> bool {
    #[cfg(feature = "hal")]
    if !axhal::arch::irqs_enabled() {
        return false;
    }
    let keeper = *KEEPER.lock();
    keeper.is_some_and(|give_back| give_back())
}
