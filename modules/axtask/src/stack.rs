//! Stacks, and the cache of stacks of ended threads.
//!
//! A stack is a range of pages in the kernel's address space, above a guard zone.
//!
//! Unmapping a stack takes a shootdown on every hart. A short thread needs less time for all
//! the rest. Stacks of ended threads are therefore cached for new threads, up to
//! an eighth of RAM. The whole cache is unmapped in one operation when it would become
//! larger, and when another request finds no memory (`axalloc::set_shrinker`).

use alloc::vec::Vec;
use core::mem;

use axconfig::{PAGE_SIZE, STACK_GUARD, STACK_SIZE};
use axerrno::{AxError, AxResult};
use axlog::warn;
use axmm::{KERNEL_OWNED_BASE, MappingFlags, VirtAddr, VirtAddrRange, kernel_aspace};

use crate::interrupts::{Lock, PREEMPTIVE};

/// The smallest size of a stack in bytes. It has room for a trap and for all that a trap may
/// do: switch to another thread, reap one, and report a failure.
pub(crate) const MIN_STACK_SIZE: usize = 16 << 10;

/// Returns the largest size of the stack cache in bytes.
fn cache_limit() -> usize {
    match PREEMPTIVE {
        true => axhal::mem::total_ram_size() / 8,
        // In a process, a hart that finds no memory cannot tell whether it holds a lock. The
        // cache is then emptied only when a new stack finds no memory, so it stays small.
        false => 8 * STACK_SIZE,
    }
}

static CACHE: Lock<StackCache> = Lock::new(StackCache {
    stacks: Vec::new(),
    bytes: 0,
    existing: 0,
});

/// Stacks whose threads have ended.
struct StackCache {
    /// The cached stacks. The vector has room for every stack that exists, so that caching
    /// one allocates nothing.
    stacks: Vec<Stack>,
    /// The size of the cached stacks in bytes, without their guard zones.
    bytes: usize,
    /// The number of stacks that exist, in use or cached.
    existing: usize,
}

/// A stack whose pages are all mapped to frames. Dropping it unmaps it.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The lowest address of the guard zone.
    guard: VirtAddr,
    /// The size in bytes, without the guard zone.
    size: usize,
    /// One bit for each hart that has run on the stack since it was mapped.
    harts: u64,
}

impl Stack {
    /// Returns a stack of at least `size` bytes, from the cache or newly mapped.
    ///
    /// # Errors
    ///
    /// `NoMemory` if there are not enough frames or addresses.
    pub(crate) fn new(size: usize) -> AxResult<Self> {
        let size = size.max(MIN_STACK_SIZE);
        let size = size.checked_next_multiple_of(PAGE_SIZE);
        let size = size.ok_or(AxError::NoMemory)?;
        let cached = CACHE.lock().take(size);
        cached.map_or_else(|| retry_without_cache(|| Self::map_counted(size)), Ok)
    }

    /// Maps a stack of `size` bytes and counts it in the cache.
    fn map_counted(size: usize) -> AxResult<Self> {
        CACHE.lock().count_new_stack()?;
        let mapped = Self::map(size);
        if mapped.is_err() {
            CACHE.lock().existing -= 1;
        }
        mapped
    }

    /// Maps a stack of `size` bytes at free addresses.
    fn map(size: usize) -> AxResult<Self> {
        if size > axhal::mem::total_ram_size() {
            return Err(AxError::NoMemory);
        }
        let size_with_guard = size + STACK_GUARD;
        let base = VirtAddr::from_usize(KERNEL_OWNED_BASE);
        let aspace = kernel_aspace();
        let limit = VirtAddrRange::new(base, aspace.end());
        loop {
            let guard = aspace.find_free_in_arena(size_with_guard, limit);
            let guard = guard.ok_or(AxError::NoMemory)?;
            match map_with_guard(guard, size) {
                // Another hart has mapped these addresses since they were found free.
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

    /// Puts a stack that is no longer in use into the cache. If the cache becomes too large,
    /// unmaps all stacks in it. Allocates nothing.
    pub(crate) fn free(self) {
        let excess = CACHE.lock().put(self);
        match excess {
            Ok(stacks) if stacks.is_empty() => {}
            Ok(stacks) => unmap_together(stacks),
            // The cache has no room: the stack is unmapped by its drop.
            Err(stack) => drop(stack),
        }
    }

    /// Gives the stack to a thread of hart `hart`. Returns whether no thread of that hart
    /// has run on it since it was mapped. The hart's TLB may then hold stale translations of
    /// the stack, so the hart must [flush](axhal::tlb::flush_fresh) them before it runs on it.
    pub(crate) fn give_to(&mut self, hart: usize) -> bool {
        let is_first_use = self.harts >> hart & 1 == 0;
        self.harts |= 1 << hart;
        is_first_use
    }

    /// Returns the lowest address.
    pub(crate) fn bottom(&self) -> usize {
        self.guard.as_usize() + STACK_GUARD
    }

    /// Returns the end, which is the first address above the stack.
    pub(crate) fn top(&self) -> usize {
        self.bottom() + self.size
    }

    /// Unmaps the guard zone and the stack. If that fails, the addresses and frames are lost
    /// and never used again.
    fn unmap(&self) {
        let guard = self.guard;
        // SAFETY: the stack owns its pages exclusively, and its thread has ended or never
        // began, so nothing refers to them.
        let result = unsafe { kernel_aspace().unmap_owned(guard, STACK_GUARD + self.size) };
        if let Err(error) = result {
            warn!("the stack above {guard:#x} stays mapped: {error:?}");
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.unmap();
        CACHE.lock().existing -= 1;
    }
}

impl StackCache {
    /// Counts one more stack, and reserves room to cache it.
    fn count_new_stack(&mut self) -> AxResult {
        let missing = self.existing + 1 - self.stacks.len();
        let reserved = self.stacks.try_reserve(missing);
        reserved.map_err(|_| AxError::NoMemory)?;
        self.existing += 1;
        Ok(())
    }

    /// Takes out a stack of `size` bytes. Prefers those that were cached last.
    fn take(&mut self, size: usize) -> Option<Stack> {
        let index = self.stacks.iter().rposition(|stack| stack.size == size)?;
        self.bytes -= size;
        Some(self.stacks.remove(index))
    }

    /// Caches a stack. If the cache is too large then, returns all stacks in it, which the
    /// caller must unmap. Otherwise returns an empty vector.
    ///
    /// # Errors
    ///
    /// Returns the stack if the vector is full. That happens while another hart unmaps all
    /// cached stacks: it has taken the whole vector, and gives its memory back afterwards.
    fn put(&mut self, stack: Stack) -> Result<Vec<Stack>, Stack> {
        if self.stacks.len() == self.stacks.capacity() {
            return Err(stack);
        }
        self.bytes += stack.size;
        self.stacks.push(stack);
        Ok(match self.bytes > cache_limit() {
            true => self.take_all(),
            false => Vec::new(),
        })
    }

    fn take_all(&mut self) -> Vec<Stack> {
        self.bytes = 0;
        mem::take(&mut self.stacks)
    }
}

/// Unmaps all cached stacks. Returns whether there were any.
pub fn free_cached_stacks() -> bool {
    let stacks = CACHE.lock().take_all();
    let any = !stacks.is_empty();
    unmap_together(stacks);
    any
}

/// Runs `work`. If it finds no memory, empties the stack cache and runs it once more.
pub(crate) fn retry_without_cache<T>(work: impl Fn() -> AxResult<T>) -> AxResult<T> {
    match work() {
        Err(AxError::NoMemory) if free_cached_stacks() => work(),
        result => result,
    }
}

/// Unmaps stacks in one operation, so that other harts flush them in one shootdown.
fn unmap_together(mut stacks: Vec<Stack>) {
    stacks.sort_unstable_by_key(|stack| stack.guard);
    let ranges = stacks.iter().map(|stack| stack.guard..stack.top().into());
    // SAFETY: each stack owns its pages exclusively, and its thread has ended, so nothing
    // refers to them.
    if unsafe { kernel_aspace().unmap_each(ranges) }.is_err() {
        // A stack is part of a larger area, or there is no memory to lock several shards.
        stacks.iter().for_each(Stack::unmap);
    }
    let count = stacks.len();
    // The stacks are unmapped, so their drops must not unmap them again.
    stacks.drain(..).for_each(mem::forget);
    let mut cache = CACHE.lock();
    cache.existing -= count;
    // Gives the vector's memory back to the cache, unless the cache has a larger one by now.
    let unused = match cache.stacks.capacity() < stacks.capacity() {
        true => {
            stacks.append(&mut cache.stacks);
            mem::replace(&mut cache.stacks, stacks)
        }
        false => stacks,
    };
    drop(cache);
    // The heap's lock is not taken under the cache's.
    drop(unused);
}

/// Maps a guard zone without rights at `guard`, and a stack of `size` bytes above it. Maps
/// both or neither.
fn map_with_guard(guard: VirtAddr, size: usize) -> AxResult {
    let aspace = kernel_aspace();
    aspace.map_alloc(guard, STACK_GUARD, MappingFlags::empty(), false)?;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    let mapped = aspace.map_alloc(guard + STACK_GUARD, size, rights, true);
    if mapped.is_err() {
        // SAFETY: this function has just mapped the guard zone, and nothing uses it yet.
        let unmapped = unsafe { aspace.unmap_owned(guard, STACK_GUARD) };
        if let Err(error) = unmapped {
            warn!("the guard zone at {guard:#x} stays mapped: {error:?}");
        }
    }
    mapped
}
