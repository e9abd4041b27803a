//! The shards of an address space: ranges of addresses, each with areas and locks of its own.
//! All have the same size, but the first and the last may be shorter. Harts that work in different
//! shards share no cache line.
//!
//! ```text
//!   base                                                                       end
//!   ├──── shard 0 ────┼──── shard 1 ────┼──── shard 2 ────┼──── shard 3 ────────┤
//!   │ range lock      │ range lock      │      not        │ range lock          │
//!   │ index lock      │ index lock      │      made       │ index lock          │
//!   │ areas           │ areas           │      yet        │ areas               │
//! ```
//!
//! On a machine of one hart there is one shard. Otherwise there are up to [`MAX_SHARDS`]. Each
//! covers whole entries of the root table, so every table below the root belongs to one shard.
//! The first shard is part of the address space. The others are made when something is mapped
//! there, and stay until the address space is dropped.

use alloc::boxed::Box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddrRange;
use memory_set::{MemorySet, SharedMemorySet};

use super::range_lock::{HartState, RangeLock};
use crate::addr::va_range;
use crate::backing::Backend;
use crate::boxed::{boxed, boxed_slice};
use crate::machine::Machine;

/// The most shards of an address space.
pub const MAX_SHARDS: usize = 32;

/// One shard: its locks and its areas.
#[repr(C)]
pub struct Shard<M> {
    /// The range lock and the index lock.
    pub lock: RangeLock<M>,
    areas: OwnLine<SharedMemorySet<Backend>>,
}

/// A value in cache lines of its own.
#[repr(align(64))]
struct OwnLine<T>(T);

impl<M: Machine> Shard<M> {
    #[inline(always)]
    fn new(others: Box<[HartState]>) -> Self {
        Self {
            lock: RangeLock::new(others),
            areas: OwnLine(SharedMemorySet::new()),
        }
    }

    /// The areas, for a lookup without a lock ([`SharedMemorySet::peek`]).
    #[inline(always)]
    pub fn shared_areas(&self) -> &SharedMemorySet<Backend> {
        &self.areas.0
    }

    /// The areas of the shard.
    ///
    /// # Safety
    ///
    /// This hart holds the index lock as long as it uses the reference.
    #[inline(always)]
    pub unsafe fn areas(&self) -> &MemorySet<Backend> {
        // SAFETY: the caller holds the index lock, which one hart holds at a time, and which
        // orders what its holders do.
        unsafe { self.areas.0.locked() }
    }
}

/// The shards of one address space.
pub struct Shards<M> {
    /// Where the first shard ends; `usize::MAX` if it is the only one.
    first_end: usize,
    /// log2 of the bytes of each other shard. These begin at multiples of their size.
    shift: u32,
    first: Shard<M>,
    /// The other shards in order; null where nothing has been mapped yet.
    others: Box<[AtomicPtr<Shard<M>>]>,
}

/// Where the shards of an address space will be, and the memory for them.
pub struct Layout<M> {
    first_end: usize,
    shift: u32,
    states: Box<[HartState]>,
    others: Box<[AtomicPtr<Shard<M>>]>,
}

impl<M: Machine> Layout<M> {
    /// The layout of an address space over `range`. An entry of its root table translates
    /// 2^`entry_bits` bytes.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[inline(always)]
    pub fn new(range: VirtAddrRange, entry_bits: u32) -> AxResult<Self> {
        match M::harts() {
            ..=1 => Ok(Self {
                first_end: usize::MAX,
                shift: usize::BITS - 1,
                states: Box::default(),
                others: Box::default(),
            }),
            _ => Self::of_many_harts(range, entry_bits),
        }
    }

    #[cold]
    fn of_many_harts(range: VirtAddrRange, entry_bits: u32) -> AxResult<Self> {
        let (first, last) = (range.start.as_usize(), range.end.as_usize() - 1);
        let count = |shift: u32| (last >> shift) - (first >> shift) + 1;
        // The size is doubled until there are few enough.
        let mut shift = entry_bits;
        while count(shift) > MAX_SHARDS {
            shift += 1;
        }
        let others = (1..count(shift)).map(|_| AtomicPtr::new(ptr::null_mut()));
        Ok(Self {
            first_end: match count(shift) {
                1 => usize::MAX,
                _ => (first | ((1 << shift) - 1)) + 1,
            },
            shift,
            states: HartState::of_others::<M>()?,
            others: boxed_slice(others)?,
        })
    }
}

impl<M: Machine> Shards<M> {
    /// The shards of `layout`, of which only the first has been made.
    #[inline(always)]
    pub fn new(layout: Layout<M>) -> Self {
        Self {
            first: Shard::new(layout.states),
            first_end: layout.first_end,
            shift: layout.shift,
            others: layout.others,
        }
    }

    /// Returns how many shards there are, made or not.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Returns the number of the shard that `addr` lies in. For an address outside of the
    /// address space there need not be a shard of that number.
    #[inline(always)]
    pub fn number_of(&self, addr: usize) -> usize {
        match addr < self.first_end {
            true => 0,
            // The second shard begins at a multiple of the size.
            false => 1 + ((addr - self.first_end) >> self.shift),
        }
    }

    /// Returns the addresses of shard `number`. The range of the first shard begins at 0, below
    /// the address space. That of the last may end above the address space. The caller clips it.
    #[inline(always)]
    pub fn range(&self, number: usize) -> VirtAddrRange {
        match number {
            0 => va_range(0, self.first_end),
            _ => {
                let start = self.first_end + ((number - 1) << self.shift);
                // The last shard may end at the end of all addresses.
                va_range(start, start.saturating_add(1 << self.shift))
            }
        }
    }

    /// Returns shard `number`, if it has been made.
    #[inline(always)]
    pub fn get(&self, number: usize) -> Option<&Shard<M>> {
        match number {
            0 => Some(&self.first),
            _ => self.other(number),
        }
    }

    #[inline(never)]
    fn other(&self, number: usize) -> Option<&Shard<M>> {
        // Acquire pairs with the release in `make_other`.
        let shard = self.others.get(number - 1)?.load(Ordering::Acquire);
        // SAFETY: the pointer is null, or `make_other` got it from a box that only the drop of
        // `self` frees.
        unsafe { shard.as_ref() }
    }

    /// Returns the shard that `addr` lies in, if it has been made.
    #[inline(always)]
    pub fn at(&self, addr: usize) -> Option<&Shard<M>> {
        match addr < self.first_end {
            true => Some(&self.first),
            false => self.other(self.number_of(addr)),
        }
    }

    /// Returns shard `number`, which is made if it has not been.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `InvalidInput` if there is no such shard.
    #[inline(always)]
    pub fn make(&self, number: usize) -> AxResult<&Shard<M>> {
        match self.get(number) {
            Some(shard) => Ok(shard),
            None => self.make_other(number),
        }
    }

    #[cold]
    fn make_other(&self, number: usize) -> AxResult<&Shard<M>> {
        let place = self.others.get(number - 1).ok_or(AxError::InvalidInput)?;
        let made = Box::into_raw(boxed(Shard::new(HartState::of_others::<M>()?))?);
        // Release pairs with the acquire in `other`. Another hart may have made the shard first.
        let put =
            place.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Relaxed);
        if put.is_err() {
            // SAFETY: `made` came from a box above, and as it was not published no other hart
            // has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
        self.get(number).ok_or(AxError::BadState)
    }

    /// Returns the shards that have been made, in order, from `number` on.
    pub fn made_from(&self, number: usize) -> impl Iterator<Item = &Shard<M>> {
        (number..self.count()).filter_map(|number| self.get(number))
    }
}

impl<M> Drop for Shards<M> {
    fn drop(&mut self) {
        for shard in &self.others {
            let shard = shard.load(Ordering::Relaxed);
            if !shard.is_null() {
                // SAFETY: `make_other` got the pointer from a box, and `&mut self` shows that
                // nothing else uses the shard.
                drop(unsafe { Box::from_raw(shard) });
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
