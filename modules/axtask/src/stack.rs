//! Stacks: pages of the kernel's address space above a guard zone; and those of ended
//! threads, which are kept for the next ones.
//!
//! To unmap a stack, every hart must forget it, which takes longer than all else in a
//! short thread's life. So stacks are kept, up to an eighth of RAM. They are unmapped, all in
//! one operation, when there are more, and when something else finds no memory
//! (`axalloc::set_shrinker`).

use alloc::vec::Vec;
use core::mem;

use axconfig::{PAGE_SIZE, STACK_GUARD, STACK_SIZE};
use axerrno::{AxError, AxResult};
use axlog::warn;
use axmm::{KERNEL_OWNED_BASE, MappingFlags, VirtAddr, VirtAddrRange, kernel_aspace};

use crate::{Lock, PREEMPTIVE};

/// The least that a stack has: room for a trap, and in it for a switch, the end of
/// another thread, and a report.
pub const LEAST: usize = 16 << 10;

/// The most bytes of stacks that are kept.
fn most_kept() -> usize {
    match PREEMPTIVE {
        true => axhal::mem::total_ram_size() / 8,
        // A hart of a process that finds no memory cannot tell whether it holds a lock, so
        // that kept stacks go back only to who needs another.
        false => 8 * STACK_SIZE,
    }
}

static KEPT: Lock<Kept> = Lock::new(Kept {
    stacks: Vec::new(),
    bytes: 0,
    count: 0,
});

/// Stacks whose threads have ended.
struct Kept {
    /// There is room for every stack there is, so that keeping one takes no memory.
    stacks: Vec<Stack>,
    /// Bytes of these stacks, without their guard zones.
    bytes: usize,
    /// How many stacks there are, those in use too.
    count: usize,
}

/// A stack that is mapped, with all its frames.
#[derive(Debug)]
pub struct Stack {
    /// Where the guard zone begins.
    guard: VirtAddr,
    /// Bytes above the guard zone.
    size: usize,
    /// One bit for each hart that has run on it since it was mapped.
    harts: u64,
}

impl Stack {
    /// A stack of at least `size` bytes: one that has been kept, or a fresh one.
    ///
    /// # Errors
    ///
    /// `NoMemory`, also for more than there are addresses.
    pub fn new(size: usize) -> AxResult<Self> {
        let size = size.max(LEAST).checked_next_multiple_of(PAGE_SIZE);
        let size = size.ok_or(AxError::NoMemory)?;
        let kept = KEPT.lock().take(size);
        kept.map_or_else(|| retried(|| Self::fresh(size)), Ok)
    }

    fn fresh(size: usize) -> AxResult<Self> {
        KEPT.lock().count_one()?;
        let mapped = Self::map_somewhere(size);
        if mapped.is_err() {
            KEPT.lock().count -= 1;
        }
        mapped
    }

    fn map_somewhere(size: usize) -> AxResult<Self> {
        if size > axhal::mem::total_ram_size() {
            return Err(AxError::NoMemory);
        }
        let whole = size + STACK_GUARD;
        let base = VirtAddr::from_usize(KERNEL_OWNED_BASE);
        let aspace = kernel_aspace();
        let limit = VirtAddrRange::new(base, aspace.end());
        loop {
            let guard = aspace.find_free_arena(whole, limit);
            let guard = guard.ok_or(AxError::NoMemory)?;
            match map(guard, size) {
                // Another hart was faster.
                Err(AxError::AlreadyExists) => {}
                mapped => {
                    return mapped.map(|()| Self {
                        guard,
                        size,
                        harts: 0,
                    });
                }
            }
        }
    }

    /// Keeps a stack that is no longer in use. Where that would be too many, unmaps it and
    /// all that are kept. Takes no memory.
    pub fn retire(self) {
        let kept = KEPT.lock().keep(self);
        match kept {
            Ok(too_many) if too_many.is_empty() => {}
            Ok(too_many) => unmap_all(too_many),
            Err(stack) => drop(stack),
        }
    }

    /// Gives it to a thread of hart `hart`. Returns whether it is the hart's first since the
    /// stack was mapped: then the hart may hold stale entries of it, and
    /// [flushes](axhal::tlb::flush_fresh) them before it runs on it.
    pub fn give_to(&mut self, hart: usize) -> bool {
        let is_first = self.harts >> hart & 1 == 0;
        self.harts |= 1 << hart;
        is_first
    }

    /// The lowest address.
    pub fn bottom(&self) -> usize {
        self.guard.as_usize() + STACK_GUARD
    }

    /// The end.
    pub fn top(&self) -> usize {
        self.bottom() + self.size
    }

    /// Unmaps the guard zone and the stack. What cannot be unmapped is lost, and not used
    /// again.
    fn unmap(&self) {
        let guard = self.guard;
        // SAFETY: the stack owns its pages, and its thread has ended.
        let result = unsafe { kernel_aspace().unmap_owned(guard, STACK_GUARD + self.size) };
        if let Err(error) = result {
            warn!("the stack above {guard:#x} stays mapped: {error:?}");
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.unmap();
        KEPT.lock().count -= 1;
    }
}

impl Kept {
    /// Counts one more stack, and makes room to keep it.
    fn count_one(&mut self) -> AxResult {
        let missing = self.count + 1 - self.stacks.len();
        let room = self.stacks.try_reserve(missing);
        room.map_err(|_| AxError::NoMemory)?;
        self.count += 1;
        Ok(())
    }

    /// The stack of this size that was kept last.
    fn take(&mut self, size: usize) -> Option<Stack> {
        let place = self.stacks.iter().rposition(|stack| stack.size == size)?;
        self.bytes -= size;
        Some(self.stacks.swap_remove(place))
    }

    /// Keeps a stack. Returns all that are kept, to be unmapped, if they are too many.
    ///
    /// # Errors
    ///
    /// The stack, if there is no room: as long as others are being unmapped.
    fn keep(&mut self, stack: Stack) -> Result<Vec<Stack>, Stack> {
        if self.stacks.len() == self.stacks.capacity() {
            return Err(stack);
        }
        self.bytes += stack.size;
        self.stacks.push(stack);
        Ok(match self.bytes > most_kept() {
            true => self.take_all(),
            false => Vec::new(),
        })
    }

    fn take_all(&mut self) -> Vec<Stack> {
        self.bytes = 0;
        mem::take(&mut self.stacks)
    }
}

/// Unmaps all stacks that are kept. Returns whether there were any.
pub fn give_back() -> bool {
    let stacks = KEPT.lock().take_all();
    let any = !stacks.is_empty();
    unmap_all(stacks);
    any
}

/// Does `work`, and once more, if there was no memory for it and kept stacks could be given
/// back.
pub fn retried<T>(work: impl Fn() -> AxResult<T>) -> AxResult<T> {
    match work() {
        Err(AxError::NoMemory) if give_back() => work(),
        result => result,
    }
}

/// Unmaps stacks in one operation, so that other harts forget them all at once.
fn unmap_all(mut stacks: Vec<Stack>) {
    stacks.sort_unstable_by_key(|stack| stack.guard);
    let ranges = stacks.iter().map(|stack| stack.guard..stack.top().into());
    // SAFETY: each stack owns its pages, and its thread has ended.
    if unsafe { kernel_aspace().unmap_each(ranges) }.is_err() {
        // One is part of a larger area, or there is no memory to join parts of the address
        // space.
        stacks.iter().for_each(Stack::unmap);
    }
    let count = stacks.len();
    stacks.drain(..).for_each(mem::forget);
    let mut kept = KEPT.lock();
    kept.count -= count;
    // The room goes back, unless there is some already.
    let more = match kept.stacks.capacity() < stacks.capacity() {
        true => {
            stacks.append(&mut kept.stacks);
            mem::replace(&mut kept.stacks, stacks)
        }
        false => stacks,
    };
    drop(kept);
    drop(more);
}

/// Maps a guard zone without rights, and a stack of `size` bytes above it, or neither.
fn map(guard: VirtAddr, size: usize) -> AxResult {
    let aspace = kernel_aspace();
    aspace.map_alloc(guard, STACK_GUARD, MappingFlags::empty(), false)?;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    let mapped = aspace.map_alloc(guard + STACK_GUARD, size, rights, true);
    if mapped.is_err() {
        // SAFETY: the guard zone has just been mapped here, and nothing uses it.
        let unmapped = unsafe { aspace.unmap_owned(guard, STACK_GUARD) };
        if let Err(error) = unmapped {
            warn!("the guard zone at {guard:#x} stays: {error:?}");
        }
    }
    mapped
}
