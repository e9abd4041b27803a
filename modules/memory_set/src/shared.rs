//! A set that other threads look areas up in while one thread changes it.
//!
//! A change has two steps. The first reserves memory, and may fail. The second cannot. Between
//! them the caller changes the page table.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::Range;

use memory_addr::AddrRange;

use crate::area::MemoryArea;
use crate::backend::WordBackend;
use crate::error::{NoMemory, ReserveError};
use crate::node::leaf::SlotRef;
use crate::node::slot::WordSlot;
use crate::set::MemorySet;
use crate::sync::const_unless_loom;
use crate::tree::LeafSnapshot;

/// Memory that is kept for insertions later on, however many others there are before.
#[derive(Debug)]
#[must_use = "the memory is kept until the reservation is redeemed"]
pub struct Reservation {
    areas: usize,
}

/// An area in the set. Each part of it is read when it is asked for.
pub struct AreaRef<'a, B> {
    found: SlotRef<'a, WordSlot>,
    /// It stays with the thread that has the set.
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
        // SAFETY: this thread has the set, so no other thread has written words meanwhile. The
        // slot is occupied: its words are those of one area.
        unsafe { MemoryArea::from_words(self.found.start(), self.found.end(), words) }
    }
}

impl<B: WordBackend> MemorySet<B> {
    /// Returns all areas in order.
    pub fn areas(&self) -> impl Iterator<Item = AreaRef<'_, B>> {
        self.areas_from(0.into())
    }

    /// Returns the area that contains `addr`, and all after it, in order.
    #[inline]
    pub fn areas_from(&self, addr: B::Addr) -> impl Iterator<Item = AreaRef<'_, B>> {
        self.tree.iter_from(addr.into()).map(AreaRef::new)
    }

    /// Returns the area that contains `addr`.
    #[inline]
    pub fn area_at(&self, addr: B::Addr) -> Option<AreaRef<'_, B>> {
        let area = self.tree.iter_from(addr.into()).next()?;
        (area.start() <= addr.into()).then(|| AreaRef::new(area))
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

    /// Returns the free addresses around `range`: from the end of the area before it to the
    /// start of the area after it. Where an end of `range` lies inside an area they end there.
    /// Without an area after it they reach to the highest address of all.
    pub fn free_around(&self, range: AddrRange<B::Addr>) -> AddrRange<B::Addr> {
        let (start, end) = (range.start.into(), range.end.into());
        let position = self.tree.seek(start);
        let first = self.tree.at_or_next(position);
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

    /// Makes sure that `range` can be cut out of the areas without allocating memory. That takes
    /// one more area for each end of `range` that lies inside an area.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails, which none does if both ends lie outside of
    /// areas.
    pub fn reserve_cut(&self, range: AddrRange<B::Addr>) -> Result<(), NoMemory> {
        self.reserve_splits(&(range.start.into()..range.end.into()))
    }

    /// Keeps memory for `count` more areas, whatever is reserved and added until the reservation
    /// is [redeemed](Self::redeem).
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails.
    pub fn reserve_ahead(&self, count: usize) -> Result<Reservation, NoMemory> {
        self.tree.reserve_ahead(count)?;
        Ok(Reservation { areas: count })
    }

    /// Lets the caller use what it has reserved ahead for the next areas that it adds.
    #[inline]
    pub fn redeem(&self, reservation: Reservation) {
        self.tree.redeem(reservation.areas);
    }

    /// Adds an area where there is none, and merges it with its neighbours if they have the same
    /// flags and the same backend, as words. Memory for it is [reserved](Self::reserve_insert).
    pub fn insert(&self, area: MemoryArea<B>) {
        let Range { start, end } = area.range();
        let words = area.to_words();
        let is_like = |other: &SlotRef<'_, WordSlot>| other.slot().has_words(&words);
        let position = self.tree.seek(start);
        let next = self.tree.at_or_next(position);
        let merges_next = next.is_some_and(|next| next.start() == end && is_like(&next));
        let merges = |left: &SlotRef<'_, WordSlot>| left.end() == start && is_like(left);
        let before = position.checked_sub(1);
        let left = before.and_then(|before| self.tree.at(before));
        if let Some(before) = before.filter(|_| left.as_ref().is_some_and(merges)) {
            self.tree.set_end(before, end);
        } else {
            let merges_previous_leaf = before.is_none()
                && self.tree.end_before_cursor() == Some(start)
                && self
                    .tree
                    .iter_from(start - 1)
                    .next()
                    .as_ref()
                    .is_some_and(merges);
            self.tree.insert(position, &(start..end), words);
            if merges_previous_leaf {
                self.merge_at(start);
            }
        }
        if merges_next {
            self.merge_at(end);
        }
    }

    /// Cuts `range` out of at most `limit` of the areas that overlap with it, in order. Returns
    /// whether no area overlaps with it any more. Memory for the cuts is
    /// [reserved](Self::reserve_cut).
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

    /// Splits the areas at both ends of `range`. Memory for it is [reserved](Self::reserve_cut).
    pub fn split_at_ends(&self, range: AddrRange<B::Addr>) {
        self.split_at(range.start.into());
        self.split_at(range.end.into());
    }

    /// Gives at most `limit` of the areas in `range` the flags `flags`, and merges neighbours
    /// that then have the same flags and the same backend. No area lies across an end of
    /// `range`. Returns where to go on, or `None` if all areas in `range` have the flags.
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
            let inside = self.tree.at(position).map(|area| area.start()..area.end());
            let Some(area) = inside.filter(|area| area.start < range.end.into()) else {
                self.merge_at(reached);
                return None;
            };
            reached = area.end;
            self.tree.set_flags_word(position, word);
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
        let left = self.tree.seek(addr.saturating_sub(1));
        let pair = self.tree.at(left).zip(self.tree.at_or_next(left + 1));
        let Some((_, right)) = pair.filter(|(left, right)| Self::can_merge(left, right, addr))
        else {
            return;
        };
        let end = right.end();
        let right = self.tree.seek(addr);
        self.tree.remove(right);
        let left = self.tree.seek(addr.saturating_sub(1));
        self.tree.set_end(left, end);
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
    /// lock, never waits, and writes nothing. `None` is not certain: the areas may have been
    /// changed meanwhile.
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
