//! Stacks: pages of the kernel's address space with a page without rights below them.

use arrayvec::ArrayVec;
use axconfig::{PAGE_SIZE, STACK_SIZE};
use axerrno::{AxError, AxResult};
use axlog::warn;
use axmm::{KERNEL_OWNED_BASE, MappingFlags, VirtAddr, VirtAddrRange, kernel_aspace};

use crate::Lock;

/// The least that a stack has: room for a trap, and in it for a switch, the end of
/// another thread, and a report.
pub const LEAST: usize = 16 << 10;

/// The most stacks that are kept.
const MOST_KEPT: usize = 8;

/// Stacks of the usual size whose threads have ended. To unmap one, every hart has to
/// forget it, which takes longer than all else in a short thread's life.
static KEPT: Lock<ArrayVec<Stack, MOST_KEPT>> = Lock::new(ArrayVec::new_const());

/// A stack that is mapped, with all its frames.
#[derive(Debug)]
pub struct Stack {
    /// The guard page.
    guard: VirtAddr,
    /// Bytes above that.
    size: usize,
}

impl Stack {
    /// A stack of at least `size` bytes: one that has been kept, or a fresh one.
    ///
    /// # Errors
    ///
    /// `NoMemory`, also for more than there are addresses.
    pub fn new(size: usize) -> AxResult<Self> {
        let kept = match size {
            STACK_SIZE => KEPT.lock().pop(),
            _ => None,
        };
        kept.map_or_else(|| Self::fresh(size), Ok)
    }

    fn fresh(size: usize) -> AxResult<Self> {
        let size = size.max(LEAST).checked_next_multiple_of(PAGE_SIZE);
        let size = size.ok_or(AxError::NoMemory)?;
        let whole = size.checked_add(PAGE_SIZE).ok_or(AxError::NoMemory)?;
        let base = VirtAddr::from_usize(KERNEL_OWNED_BASE);
        let aspace = kernel_aspace();
        let limit = VirtAddrRange::new(base, aspace.end());
        loop {
            let guard = aspace.find_free_area(base, whole, limit);
            let guard = guard.ok_or(AxError::NoMemory)?;
            match map(guard, size) {
                // Another hart was faster.
                Err(AxError::AlreadyExists) => {}
                mapped => return mapped.map(|()| Self { guard, size }),
            }
        }
    }

    /// Keeps a stack that nobody uses any more, or unmaps it.
    pub fn retire(self) {
        if self.size == STACK_SIZE {
            // What there is no room for goes here, with the lock let go.
            let left = KEPT.lock().try_push(self);
            drop(left);
        }
    }

    /// The lowest address.
    pub fn bottom(&self) -> usize {
        self.guard.as_usize() + PAGE_SIZE
    }

    /// The end.
    pub fn top(&self) -> usize {
        self.bottom() + self.size
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: this stack owns its pages, and its thread has ended.
        let result = unsafe { kernel_aspace().unmap_owned(self.guard, PAGE_SIZE + self.size) };
        unmap(result, self.guard);
    }
}

/// What is left of a stack that cannot be unmapped is lost, and not used again.
fn unmap(result: AxResult, guard: VirtAddr) {
    if let Err(error) = result {
        warn!("the stack above {guard:#x} stays mapped: {error:?}");
    }
}

/// Maps a guard page, and a stack of `size` bytes behind it, or neither.
fn map(guard: VirtAddr, size: usize) -> AxResult {
    let aspace = kernel_aspace();
    aspace.map_alloc(guard, PAGE_SIZE, MappingFlags::empty(), false)?;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    let mapped = aspace.map_alloc(guard + PAGE_SIZE, size, rights, true);
    if mapped.is_err() {
        // SAFETY: the guard page has just been mapped here, and nothing uses it.
        unmap(unsafe { aspace.unmap_owned(guard, PAGE_SIZE) }, guard);
    }
    mapped
}
