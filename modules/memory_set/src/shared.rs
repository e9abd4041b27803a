//! A set that other threads look areas up in while one thread changes it.
//!
//! A change has two steps. The first reserves memory, and may fail. The second cannot. Between
//! them the caller changes the page table.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::Range;

use memory_addr::AddrRange;

use crate::area::{MemoryArea, words_of};
use crate::backend::WordBackend;
use crate::error::{NoMemory, ReserveError};
use crate::node::leaf::SlotRef;
use crate::node::slot::WordSlot;
use crate::set::MemorySet;
use crate::sync::const_unless_loom;
use crate::tree::LeafSnapshot;

/// Memory that is kept for some areas. Areas that are added before the reservation is redeemed do
/// not use it.
#[derive(Debug)]
#[must_use = "the memory is kept until the reservation is redeemed"]
pub struct Reservation {
    areas: usize,
}

/// An area in the set. Each part of it is read when it is asked for.
pub struct AreaRef<'a, B> {
    found: SlotRef<'a, WordSlot>,
    /// The cell makes the reference neither `Send` nor `Sync`: it stays with the thread that holds
    /// the set's lock.
    _backend: PhantomData<(B, &'a Cell<()>)>,
}

impl<'a, B: WordBackend> AreaRef<'a, B> {
    #[inline(always)]
    fn new(found: SlotRef<'a, WordSlot>) -> Self {
        Self {
            found,
            _backend: PhantomData,
        }
    }

    /// Returns the addresses.
    #[inline(always)]
    pub fn va_range(&self) -> AddrRange<B::Addr> {
        AddrRange {
            start: self.found.start().into(),
            end: self.found.end().into(),
        }
    }

    /// Returns the first address.
    #[inline(always)]
    pub fn start(&self) -> B::Addr {
        self.found.start().into()
    }

    /// Returns the end, which is the address after the last.
    #[inline(always)]
    pub fn end(&self) -> B::Addr {
        self.found.end().into()
    }

    /// Returns the flags.
    #[inline(always)]
    pub fn flags(&self) -> B::Flags {
        B::flags_from_word(self.found.slot().flags_word())
    }

    /// Returns a copy of the area.
    #[inline(always)]
    pub fn area(&self) -> MemoryArea<B> {
        let words = self.found.slot().words();
        // SAFETY: this thread has exclusive access to the set, so no other thread has written words
        // meanwhile. The slot was occupied when the reference was made, and only the words of areas
        // are ever written to it. So these words are those of one area, even if this thread has
        // removed it meanwhile.
        unsafe { MemoryArea::from_words(self.found.start(), self.found.end(), words) }
    }
}

impl<B: WordBackend> MemorySet<B> {
    /// Returns all areas in order.
    pub fn areas(&self) -> impl Iterator<Item = AreaRef<'_, B>> {
        self.areas_from(0.into())
    }

    /// Returns all areas that end above `addr`, in order. The first contains `addr` or starts above
    /// it.
    #[inline]
    pub fn areas_from(&self, addr: B::Addr) -> impl Iterator<Item = AreaRef<'_, B>> {
        self.tree.iter_from(addr.into()).map(AreaRef::new)
    }

    /// Returns the area that contains `addr`.
    #[inline]
    pub fn area_at(&self, addr: B::Addr) -> Option<AreaRef<'_, B>> {
        let area = self.tree.iter_from(addr.into()).next()?;
        (area.start()..area.end())
            .contains(&addr.into())
            .then(|| AreaRef::new(area))
    }

    /// Returns the areas that overlap with `range`, in order.
    #[inline]
    pub fn overlapping(&self, range: AddrRange<B::Addr>) -> impl Iterator<Item = AreaRef<'_, B>> {
        let areas = self.areas_from(range.start);
        areas.take_while(move |area| area.start() < range.end)
    }

    /// Returns whether no area lies across an end of `range`.
    pub fn has_whole_areas(&self, range: AddrRange<B::Addr>) -> bool {
        let mut areas = self.overlapping(range);
        areas.all(|area| range.start <= area.start() && area.end() <= range.end)
    }

    /// Returns whether each address of `range` is in an area.
    pub fn covers(&self, range: AddrRange<B::Addr>) -> bool {
        let mut reached = range.start;
        for area in self.overlapping(range) {
            if area.start() > reached {
                return false;
            }
            reached = area.end();
        }
        reached >= range.end
    }

    /// Returns `range`, extended to the end of the area before it and to the start of the area
    /// after it. It is not extended at an end that lies inside an area. Without an area before or
    /// after it, it is extended to the lowest or the highest address of all.
    pub fn free_around(&self, range: AddrRange<B::Addr>) -> AddrRange<B::Addr> {
        let (start, end) = (range.start.into(), range.end.into());
        let position = self.tree.seek(start);
        let first = self.tree.at(position);
        let low = match first.is_some_and(|area| area.start() < start) {
            true => start,
            false => self.tree.end_before(position).unwrap_or(0),
        };
        let after = self.tree.iter_from(end).next();
        let high = after.map_or(usize::MAX, |area| area.start().max(end));
        AddrRange {
            start: low.into(),
            end: high.into(),
        }
    }

    /// Makes sure that `count` areas can be added without allocating memory.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails. What was reserved before stays reserved.
    pub fn reserve(&self, count: usize) -> Result<(), NoMemory> {
        match count {
            0 => Ok(()),
            _ => self.tree.reserve(count),
        }
    }

    /// Makes sure that an area can be added at `range` without allocating memory.
    ///
    /// # Errors
    ///
    /// Returns `AlreadyExists` if an area overlaps with `range`, and `NoMemory` if an allocation
    /// fails.
    pub fn reserve_insert(&self, range: AddrRange<B::Addr>) -> Result<(), ReserveError> {
        let position = self.tree.seek(range.start.into());
        let next = self.tree.at(position);
        if next.is_some_and(|area| area.start() < range.end.into()) {
            return Err(ReserveError::AlreadyExists);
        }
        Ok(self.tree.reserve(1)?)
    }

    /// Makes sure that the areas can be [split](Self::split_at_ends) at both ends of `range`, or
    /// `range` [removed](Self::remove) from them, without allocating memory.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails. Nothing is allocated if both ends lie outside
    /// of areas.
    pub fn reserve_cut(&self, range: AddrRange<B::Addr>) -> Result<(), NoMemory> {
        self.reserve_splits(&(range.start.into()..range.end.into()))
    }

    /// Keeps memory for `count` more areas. Other areas that are reserved and added before the
    /// reservation is [redeemed](Self::redeem) do not use it.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails.
    pub fn reserve_ahead(&self, count: usize) -> Result<Reservation, NoMemory> {
        self.tree.reserve_ahead(count)?;
        Ok(Reservation { areas: count })
    }

    /// Lets the next areas that are added use the memory of `reservation`.
    ///
    /// The reservation must be one of this set. That of another set would use up memory that this
    /// set keeps for its own reservations.
    #[inline]
    pub fn redeem(&self, reservation: Reservation) {
        self.tree.redeem(reservation.areas);
    }

    /// Adds an area at `range`, whose addresses are free, and merges it with its neighbours if they
    /// have the same flags and the same backend, as words. The caller has
    /// [reserved](Self::reserve_insert) memory for it.
    ///
    /// # Panics
    ///
    /// Panics if the caller has not reserved memory and an allocation fails.
    pub fn insert(&self, range: AddrRange<B::Addr>, flags: B::Flags, backend: &B) {
        let (start, end) = (range.start.into(), range.end.into());
        let words = words_of(flags, backend);
        let is_like = |other: &SlotRef<'_, WordSlot>| other.slot().has_words(&words);
        let position = self.tree.seek(start);
        let after = self.tree.at(position);
        let merges_after = after.is_some_and(|after| after.start() == end && is_like(&after));
        let can_grow = |before: &SlotRef<'_, WordSlot>| before.end() == start && is_like(before);
        match position.checked_sub(1) {
            Some(before) if self.tree.at(before).as_ref().is_some_and(can_grow) => {
                self.tree.set_end(before, end);
            }
            before => {
                // The area before it may be the last of the leaf before.
                let merges_before = before.is_none()
                    && self.tree.end_before_cursor() == Some(start)
                    && self
                        .tree
                        .iter_from(start - 1)
                        .next()
                        .as_ref()
                        .is_some_and(can_grow);
                self.tree.insert(position, &(start..end), words);
                if merges_before {
                    self.merge_at(start);
                }
            }
        }
        if merges_after {
            self.merge_at(end);
        }
    }

    /// Cuts `range` out of at most `limit` of the areas that overlap with it, in order. Returns
    /// `true` if `range` is free now. After `false` areas may be left in it, and the caller calls
    /// this again. The caller has [reserved](Self::reserve_cut) memory for the cuts.
    ///
    /// # Panics
    ///
    /// Panics if the caller has not reserved memory and an allocation fails.
    pub fn remove(&self, range: AddrRange<B::Addr>, limit: usize) -> bool {
        let range: Range<usize> = range.start.into()..range.end.into();
        for _ in 0..limit {
            let position = self.tree.seek(range.start);
            let Some(area) = self.tree.at(position) else {
                return true;
            };
            let (start, end) = (area.start(), area.end());
            if start >= range.end {
                return true;
            }
            match (start < range.start, range.end < end) {
                (false, false) => {
                    self.tree.remove(position);
                }
                (false, true) => self.tree.set_start(position, range.end),
                (true, false) => self.tree.set_end(position, range.start),
                (true, true) => {
                    let words = area.slot().words();
                    self.tree.set_end(position, range.start);
                    self.tree.insert(position + 1, &(range.end..end), words);
                }
            }
            if range.end <= end {
                return true;
            }
        }
        false
    }

    /// Splits the areas at both ends of `range`. The caller has [reserved](Self::reserve_cut)
    /// memory for that.
    ///
    /// # Panics
    ///
    /// Panics if the caller has not reserved memory and an allocation fails.
    pub fn split_at_ends(&self, range: AddrRange<B::Addr>) {
        self.split_at(range.start.into());
        self.split_at(range.end.into());
    }

    /// Gives at most `limit` of the areas in `range` the flags `flags`, and merges neighbours
    /// that then have the same flags and the same backend. The caller has
    /// [split](Self::split_at_ends) areas that lay across an end of `range`.
    ///
    /// Returns `None` when all areas in `range` have the flags. Otherwise returns the address at
    /// which the next call has to start.
    pub fn set_flags(
        &self,
        range: AddrRange<B::Addr>,
        flags: B::Flags,
        limit: usize,
    ) -> Option<B::Addr> {
        let word = B::flags_to_word(flags);
        let mut reached = range.start.into();
        for _ in 0..limit {
            let position = self.tree.seek(reached);
            let found = self.tree.at(position).map(|area| area.start()..area.end());
            let Some(area) = found.filter(|area| area.start < range.end.into()) else {
                // The last area that was changed and the one after it, outside of `range`.
                self.merge_at(reached);
                return None;
            };
            reached = area.end;
            self.tree.set_flags_word(position, word);
            // The area before it and this one.
            self.merge_at(area.start);
        }
        Some(reached.into())
    }

    /// Splits the area that contains both `addr` and the address before it, if there is one.
    fn split_at(&self, addr: usize) {
        let position = self.tree.seek(addr);
        if let Some(area) = self.tree.at(position)
            && area.start() < addr
        {
            let (end, words) = (area.end(), area.slot().words());
            self.tree.set_end(position, addr);
            self.tree.insert(position + 1, &(addr..end), words);
        }
    }

    /// Merges the area that ends at `addr` with the one that starts there, if they have the same
    /// flags and the same backend.
    fn merge_at(&self, addr: usize) {
        let position = self.tree.seek(addr.saturating_sub(1));
        let pair = self
            .tree
            .at(position)
            .zip(self.tree.at_or_next(position + 1));
        let Some((_, right)) = pair.filter(|(left, right)| Self::can_merge(left, right, addr))
        else {
            return;
        };
        let end = right.end();
        let right_position = self.tree.seek(addr);
        self.tree.remove(right_position);
        // The removal may have moved the left area to another leaf.
        let left_position = self.tree.seek(addr.saturating_sub(1));
        self.tree.set_end(left_position, end);
    }

    #[inline(always)]
    fn can_merge(left: &SlotRef<WordSlot>, right: &SlotRef<WordSlot>, addr: usize) -> bool {
        left.end() == addr && right.start() == addr && left.slot().has_words(&right.slot().words())
    }
}

/// A set in which any thread may look areas up while one thread changes it.
pub struct SharedMemorySet<B: WordBackend>(MemorySet<B>);

// SAFETY: `peek` uses the nodes alone, which consist of atomics. A caller of `locked` promises
// that no other thread uses the set meanwhile in any other way.
unsafe impl<B: WordBackend + Send + Sync> Sync for SharedMemorySet<B> {}

impl<B: WordBackend> SharedMemorySet<B> {
    const_unless_loom! {
        /// Returns a set without areas.
        pub fn new() -> Self {
            Self(MemorySet::new())
        }
    }

    /// Finds the area that contains `addr`, and returns it with a snapshot of its leaf. Takes no
    /// lock, never waits, and writes nothing. After `None` the caller has to ask under the lock:
    /// there is no such area, or the areas were changed during the lookup.
    #[inline(always)]
    pub fn peek(&self, addr: B::Addr) -> Option<(MemoryArea<B>, LeafSnapshot)> {
        let (found, snapshot) = self.0.tree.nodes().peek(addr.into())?;
        // SAFETY: the leaf's sequence count was the same before and after the words were read.
        // So no word was written meanwhile, and they are those of one area.
        let area = unsafe { MemoryArea::from_words(found.start, found.end, found.words) };
        Some((area, snapshot))
    }

    /// Returns the set, for certain answers and for changes.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of this set as long as it uses the reference: no other thread
    /// uses such a reference meanwhile, and what an earlier holder did happened before.
    #[inline(always)]
    pub unsafe fn locked(&self) -> &MemorySet<B> {
        &self.0
    }
}

impl<B: WordBackend> Default for SharedMemorySet<B> {
    fn default() -> Self {
        Self::new()
    }
}
