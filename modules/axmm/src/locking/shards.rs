//! The shards of an address space: equal ranges of addresses, each with areas and locks of
//! its own, so that harts which work in different shards share no cache line.
//!
//! ```text
//!   base                                                                       end
//!   ├──── shard 0 ────┼──── shard 1 ────┼──── shard 2 ────┼──── shard 3 ────────┤
//!   │ range lock      │ range lock      │      not        │ range lock          │
//!   │ index lock      │ index lock      │      made       │ index lock          │
//!   │ areas           │ areas           │      yet        │ areas               │
//! ```
//!
//! On a machine of one hart there is one shard. Otherwise there are up to [`MOST`], whole
//! entries of the root table each, so every table below the root belongs to one shard. The
//! first is part of the address space; the others are made when something is mapped there,
//! and stay until the address space is dropped.

use alloc::boxed::Box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use axerrno::{AxError, AxResult};

use super::range_lock::{Bounds, HartState, RangeLock};
use crate::areas::{Areas, SharedAreas, Span};
use crate::backing::Backend;
use crate::boxed::{boxed, boxed_slice};
use crate::machine::Machine;

/// The most shards of an address space.
pub const MOST: usize = 32;

/// One shard.
#[repr(C)]
pub struct Shard<M> {
    /// The locks.
    pub lock: RangeLock<M>,
    areas: OwnLine<SharedAreas<Backend>>,
}

/// A value in cache lines of its own.
#[repr(align(64))]
struct OwnLine<T>(T);

impl<M: Machine> Shard<M> {
    #[inline(always)]
    fn new(others: Box<[HartState]>) -> Self {
        Self {
            lock: RangeLock::new(others),
            areas: OwnLine(SharedAreas::empty()),
        }
    }

    /// The areas, for a lookup without a lock ([`SharedAreas::peek`]).
    #[inline(always)]
    pub fn shared_areas(&self) -> &SharedAreas<Backend> {
        &self.areas.0
    }

    /// The areas.
    ///
    /// # Safety
    ///
    /// This hart holds the index lock as long as it uses the reference.
    #[inline(always)]
    pub unsafe fn areas(&self) -> &Areas<Backend> {
        // SAFETY: the caller holds the index lock, which one hart holds at a time, and which
        // orders what its holders do.
        unsafe { self.areas.0.locked() }
    }
}

/// The shards of one address space.
pub struct Shards<M> {
    /// The last address of the first shard.
    first_last: usize,
    /// log2 of the bytes of a shard. Shards begin at multiples of their size.
    shift: u32,
    first: Shard<M>,
    /// The others in order; null where nothing has been mapped yet.
    others: Box<[AtomicPtr<Shard<M>>]>,
}

/// Where the shards of an address space are, and memory for them.
pub struct Places<M> {
    first_last: usize,
    shift: u32,
    states: Box<[HartState]>,
    others: Box<[AtomicPtr<Shard<M>>]>,
}

impl<M: Machine> Places<M> {
    /// Those of an address space over `span`. An entry of its root table translates
    /// 2^`entry_bits` bytes.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[inline(always)]
    pub fn new(span: &Span, entry_bits: u32) -> AxResult<Self> {
        match M::harts() {
            ..=1 => Ok(Self {
                first_last: usize::MAX,
                shift: usize::BITS - 1,
                states: Box::default(),
                others: Box::default(),
            }),
            _ => Self::of_many_harts(span, entry_bits),
        }
    }

    #[cold]
    fn of_many_harts(span: &Span, entry_bits: u32) -> AxResult<Self> {
        let (first, last) = (span.start, span.end - 1);
        let count = |shift: u32| (last >> shift) - (first >> shift) + 1;
        let mut shift = entry_bits;
        while count(shift) > MOST {
            shift += 1;
        }
        let others = (1..count(shift)).map(|_| AtomicPtr::new(ptr::null_mut()));
        Ok(Self {
            first_last: match count(shift) {
                1 => usize::MAX,
                _ => first | ((1 << shift) - 1),
            },
            shift,
            states: HartState::of_others::<M>()?,
            others: boxed_slice(others)?,
        })
    }
}

impl<M: Machine> Shards<M> {
    /// Shards at these places, none of which but the first has been made.
    #[inline(always)]
    pub fn new(places: Places<M>) -> Self {
        Self {
            first: Shard::new(places.states),
            first_last: places.first_last,
            shift: places.shift,
            others: places.others,
        }
    }

    /// How many there are, made or not.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The number of the shard that `addr` lies in. For an address outside of the address
    /// space it need not be the number of any.
    #[inline(always)]
    pub fn number_of(&self, addr: usize) -> usize {
        match addr <= self.first_last {
            true => 0,
            // The second shard begins at a multiple of the size.
            false => 1 + ((addr - self.first_last - 1) >> self.shift),
        }
    }

    /// The first and the last address of shard `number`.
    #[inline(always)]
    pub fn bounds(&self, number: usize) -> Bounds {
        match number {
            0 => (0, self.first_last),
            _ => {
                let first = self.first_last + 1 + ((number - 1) << self.shift);
                (first, first + ((1 << self.shift) - 1))
            }
        }
    }

    /// Shard `number`, if it has been made.
    #[inline(always)]
    pub fn get(&self, number: usize) -> Option<&Shard<M>> {
        match number {
            0 => Some(&self.first),
            _ => self.other(number),
        }
    }

    #[inline(never)]
    fn other(&self, number: usize) -> Option<&Shard<M>> {
        let shard = self.others.get(number - 1)?.load(Ordering::Acquire);
        // SAFETY: it is null, or a box's that `make` has put there, which goes with this.
        unsafe { shard.as_ref() }
    }

    /// The shard that `addr` lies in, if it has been made.
    #[inline(always)]
    pub fn at(&self, addr: usize) -> Option<&Shard<M>> {
        match addr <= self.first_last {
            true => Some(&self.first),
            false => self.other(self.number_of(addr)),
        }
    }

    /// Shard `number`; it is made if it has not been.
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
        // Release publishes the shard; another hart may have been faster.
        let put =
            place.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Relaxed);
        if put.is_err() {
            // SAFETY: it is the box made here, and no other hart has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
        self.get(number).ok_or(AxError::BadState)
    }

    /// The shards that have been made, in order, from `number` on.
    pub fn made_from(&self, number: usize) -> impl Iterator<Item = &Shard<M>> {
        (number..self.count()).filter_map(|number| self.get(number))
    }
}

impl<M> Drop for Shards<M> {
    fn drop(&mut self) {
        for shard in &self.others {
            let shard = shard.load(Ordering::Relaxed);
            if !shard.is_null() {
                // SAFETY: `make` has put it there from a box, and nothing else uses it now.
                drop(unsafe { Box::from_raw(shard) });
            }
        }
    }
}

/// The part of `span` that lies in `bounds`.
pub fn clip(span: &Span, bounds: Bounds) -> Span {
    span.start.max(bounds.0)..span.end.min(bounds.1.saturating_add(1))
}

#[cfg(test)]
mod tests;
