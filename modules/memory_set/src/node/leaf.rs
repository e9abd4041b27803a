//! A leaf of the tree: the areas themselves.

use core::ops::Range;

use super::extent::Extent;
use super::order::Order;
use super::pool::Node;
use super::seq_count::SeqCount;
use super::slot::{Slot, WORDS, WordSlot};
use super::word::{Link, Word};

#[cfg(all(test, loom))]
mod interleavings;

/// The number of slots. The last one is never used, but with 16 of them every slot number of four
/// bits, as an [`Order`] returns them, is a valid index that needs no check.
const SLOTS: usize = 16;

/// Where the area of a vacant slot starts and ends: above all areas, so that a search ends at a
/// vacant slot at the latest.
const VACANT: usize = usize::MAX;

/// Up to 15 areas, in any slots, and their [`Order`].
pub struct Leaf<S> {
    /// Guards the order, the addresses and the slots. Concurrent readers read nothing else.
    seq: SeqCount,
    order: Word,
    /// The [`Extent`] of the areas.
    start: Word,
    end: Word,
    gap: Word,
    /// The next leaf, by address.
    next: Link,
    /// The addresses of each slot's area; [`VACANT`] for a vacant slot.
    starts: [Word; SLOTS],
    ends: [Word; SLOTS],
    /// The gap between each slot's area and the area before it; 0 for the first area, and for a
    /// vacant slot.
    gaps: [Word; SLOTS],
    slots: [S; SLOTS],
}

/// An occupied slot of a leaf.
pub struct SlotRef<'a, S> {
    leaf: &'a Leaf<S>,
    slot: usize,
}

impl<S> Clone for SlotRef<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for SlotRef<'_, S> {}

/// An area as a reader without a lock has read it.
pub struct PeekedArea {
    pub start: usize,
    pub end: usize,
    pub words: [usize; WORDS],
    /// The leaf's sequence count at which the area was there.
    pub count: usize,
}

impl<S: Slot> Node for Leaf<S> {
    fn new() -> Self {
        Self {
            seq: SeqCount::new(),
            order: Word::new(Order::EMPTY.to_bits()),
            start: Word::new(0),
            end: Word::new(0),
            gap: Word::new(0),
            next: Link::none(),
            starts: Word::array(VACANT),
            ends: Word::array(VACANT),
            gaps: Word::array(0),
            slots: core::array::from_fn(|_| S::vacant()),
        }
    }

    fn clear(&self) {
        self.seq.begin_write();
        self.order.set(Order::EMPTY.to_bits());
        Word::fill(&self.starts, VACANT);
        Word::fill(&self.ends, VACANT);
        self.seq.end_write();
        Word::fill(&self.gaps, 0);
        self.set_extent(Extent::EMPTY);
    }

    fn link(&self) -> &Link {
        &self.next
    }
}

impl<'a, S> SlotRef<'a, S> {
    /// Returns the first address of the area.
    #[inline(always)]
    pub fn start(&self) -> usize {
        self.leaf.starts[self.slot].get()
    }

    /// Returns the end of the area.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.leaf.ends[self.slot].get()
    }

    /// Returns the slot, which is occupied.
    #[inline(always)]
    pub fn slot(&self) -> &'a S {
        &self.leaf.slots[self.slot]
    }
}

impl<S> Leaf<S> {
    /// The most areas.
    const CAPACITY: usize = Order::CAPACITY;
    /// The fewest areas of a leaf that is not the only one.
    pub const FEWEST: usize = Self::CAPACITY / 2;

    #[inline(always)]
    fn order(&self) -> Order {
        Order::from_bits(self.order.get())
    }

    fn set_extent(&self, extent: Extent) {
        self.start.set(extent.start);
        self.end.set(extent.end);
        self.gap.set(extent.gap);
    }

    #[inline(always)]
    fn range_of(&self, slot: usize) -> Range<usize> {
        self.starts[slot].get()..self.ends[slot].get()
    }

    #[inline(always)]
    fn set_range_of(&self, slot: usize, range: &Range<usize>) {
        self.starts[slot].set(range.start);
        self.ends[slot].set(range.end);
    }

    /// Returns the number of areas.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.order().len()
    }

    /// Returns whether there is no space for one more area.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.len() == Self::CAPACITY
    }

    /// Returns where the first area starts.
    #[inline(always)]
    pub fn start(&self) -> usize {
        self.start.get()
    }

    /// Returns where the last area ends.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.end.get()
    }

    /// Returns what the parent knows of this leaf.
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        Extent {
            start: self.start.get(),
            end: self.end.get(),
            gap: self.gap.get(),
        }
    }

    /// Returns the number of the next leaf.
    #[inline(always)]
    pub fn next(&self) -> Option<u32> {
        self.next.get()
    }

    /// Returns the area at `position`, if there are so many.
    #[inline(always)]
    pub fn get(&self, position: usize) -> Option<SlotRef<'_, S>> {
        let order = self.order();
        (position < order.len()).then(|| SlotRef {
            leaf: self,
            slot: order.slot(position),
        })
    }

    /// Returns the position of the first area that ends above `addr`, or `len` if there is
    /// none. `addr` is not the highest address of all.
    #[inline]
    pub fn search(&self, addr: usize) -> usize {
        self.search_in(self.order(), addr)
    }

    #[inline(always)]
    fn search_in(&self, order: Order, addr: usize) -> usize {
        let mut position = 0;
        for step in [8, 4, 2, 1] {
            if self.ends[order.slot(position + step - 1)].get() <= addr {
                position += step;
            }
        }
        position
    }

    /// Returns the first gap between two areas of the leaf that ends above `addr` and has
    /// `size` bytes, at least one.
    #[inline]
    pub fn gap(&self, addr: usize, size: usize) -> Option<Range<usize>> {
        let order = self.order();
        (self.search(addr)..order.len())
            .map(|position| order.slot(position))
            .find(|slot| self.gaps[*slot].get() >= size && self.starts[*slot].get() > addr)
            .map(|slot| self.gap_before(slot))
    }

    /// Returns the first gap between two areas of the leaf that has `size` bytes, at least one.
    #[inline]
    pub fn first_gap(&self, size: usize) -> Option<Range<usize>> {
        let order = self.order();
        // The gap of a vacant slot is 0.
        (0..Self::CAPACITY)
            .map(|position| order.slot(position))
            .find(|slot| self.gaps[*slot].get() >= size)
            .map(|slot| self.gap_before(slot))
    }

    #[inline(always)]
    fn gap_before(&self, slot: usize) -> Range<usize> {
        let start = self.starts[slot].get();
        start.saturating_sub(self.gaps[slot].get())..start
    }

    /// Returns what is around an area at `range`. `position` is its place in the order, and `next`
    /// is the position of the area after it: `position + 1` if the leaf has the area, or `position`
    /// if it is yet to be inserted.
    fn surroundings(&self, position: usize, next: usize, range: &Range<usize>) -> Surroundings {
        let order = self.order();
        let (is_first, is_last) = (position == 0, next >= order.len());
        Surroundings {
            is_first,
            is_last,
            start: match is_first {
                true => range.start,
                false => self.ends[order.slot(position - 1)].get(),
            },
            end: match is_last {
                true => range.end,
                false => self.starts[order.slot(next)].get(),
            },
        }
    }

    /// Updates gaps and extent after the area at `position` was inserted or got other addresses,
    /// which are `range` now. `old_gap` is the largest of the gaps that this has replaced. Returns
    /// `false` only if the extent is as it was.
    fn update_gaps(
        &self,
        position: usize,
        around: &Surroundings,
        old_gap: usize,
        range: &Range<usize>,
    ) -> bool {
        let order = self.order();
        let (before, after) = around.gaps_beside(range);
        self.gaps[order.slot(position)].set(before);
        if around.is_first {
            self.start.set(range.start);
        }
        match around.is_last {
            true => self.end.set(range.end),
            false => self.gaps[order.slot(position + 1)].set(after),
        }
        self.replace_gap(old_gap, before.max(after)) || around.is_first || around.is_last
    }

    /// Updates the largest gap after some gaps were replaced. `old` is the largest of those that
    /// are gone, and `new` the largest of those that took their place. Returns whether the largest
    /// gap of the leaf has changed.
    fn replace_gap(&self, old: usize, new: usize) -> bool {
        let largest = self.gap.get();
        let new_largest = if new >= largest {
            new
        } else if old >= largest {
            self.largest_gap(largest)
        } else {
            largest
        };
        self.gap.set(new_largest);
        new_largest != largest
    }

    /// Computes all gaps and the extent.
    fn measure(&self) {
        Word::fill(&self.gaps, 0);
        let order = self.order();
        let mut extent = Extent::EMPTY;
        for position in 0..order.len() {
            let slot = order.slot(position);
            let Range { start, end } = self.range_of(slot);
            match position {
                0 => extent.start = start,
                _ => {
                    let gap = start.saturating_sub(extent.end);
                    self.gaps[slot].set(gap);
                    extent.gap = extent.gap.max(gap);
                }
            }
            extent.end = end;
        }
        self.set_extent(extent);
    }

    /// Returns the largest gap. No gap is larger than `bound`, so the search ends at one of that
    /// size.
    fn largest_gap(&self, bound: usize) -> usize {
        let mut largest = 0;
        for gap in &self.gaps {
            let gap = gap.get();
            if gap > largest {
                largest = gap;
                if gap >= bound {
                    break;
                }
            }
        }
        largest
    }

    /// Lets the area at `position` end at `end`, which is not above the start of the next area.
    /// Returns `false` only if the extent is as it was.
    pub fn set_end(&self, position: usize, end: usize) -> bool {
        let slot = self.order().slot(position);
        let old = self.range_of(slot);
        self.seq.begin_write();
        self.ends[slot].set(end);
        self.seq.end_write();
        self.update_resized(position, &old, &(old.start..end))
    }

    /// Lets the area at `position` start at `start`, which is not below the end of the area
    /// before it. Returns `false` only if the extent is as it was.
    pub fn set_start(&self, position: usize, start: usize) -> bool {
        let slot = self.order().slot(position);
        let old = self.range_of(slot);
        self.seq.begin_write();
        self.starts[slot].set(start);
        self.seq.end_write();
        self.update_resized(position, &old, &(start..old.end))
    }

    /// Updates gaps and extent after the area at `position` got the addresses `new` instead of
    /// `old`. Returns `false` only if the extent is as it was.
    fn update_resized(&self, position: usize, old: &Range<usize>, new: &Range<usize>) -> bool {
        let around = self.surroundings(position, position + 1, new);
        // There is no gap before the first area, for which `around.start` is its new start. If it
        // has grown there, `before` is its growth and counts as a gap that is gone. That only makes
        // `replace_gap` search in vain. So does growth of the last area at its end.
        let (before, after) = around.gaps_beside(old);
        self.update_gaps(position, &around, before.max(after), new)
    }

    fn begin_write_both(&self, right: &Self) {
        self.seq.begin_write();
        right.seq.begin_write();
    }

    fn end_write_both(&self, right: &Self) {
        self.seq.end_write();
        right.seq.end_write();
    }
}

impl<S: Slot> Leaf<S> {
    /// Adds an area at `position`, which is not above `len`, to a leaf that is not full.
    /// Returns `false` only if the [extent](Self::extent) is as it was.
    pub fn insert(&self, position: usize, range: &Range<usize>, value: S::Value) -> bool {
        let around = self.surroundings(position, position, range);
        self.seq.begin_write();
        let slot = self.occupy(position, range);
        // SAFETY: the caller has exclusive access to the tree. The slot has been vacant until
        // now, so no reference to a value there exists.
        unsafe { self.slots[slot].write(value) };
        self.seq.end_write();
        self.update_gaps(position, &around, around.gap_without_area(), range)
    }

    /// Removes the area at `position`. Returns what its slot owned, and `false` only if the extent
    /// is as it was. Returns `None` if there are not so many areas.
    pub fn remove(&self, position: usize) -> Option<(S::Removed, bool)> {
        if position >= self.len() {
            return None;
        }
        let slot = self.order().slot(position);
        let range = self.range_of(slot);
        let around = self.surroundings(position, position + 1, &range);
        self.seq.begin_write();
        self.vacate(position);
        // SAFETY: the caller has exclusive access to the tree, and so no reference to a value
        // in it. `position` is below `len` (checked first), so the slot has been occupied until now.
        let removed = unsafe { self.slots[slot].take() };
        self.seq.end_write();
        Some((removed, self.update_without_area(position, &around, &range)))
    }

    /// Updates gaps and extent after the area at `position`, with the addresses `range`, was
    /// removed. Returns `false` only if the extent is as it was.
    fn update_without_area(
        &self,
        position: usize,
        around: &Surroundings,
        range: &Range<usize>,
    ) -> bool {
        let new_gap = around.gap_without_area();
        if around.is_first {
            self.start.set(around.end);
        }
        match around.is_last {
            true => self.end.set(around.start),
            false => self.gaps[self.order().slot(position)].set(new_gap),
        }
        let (before, after) = around.gaps_beside(range);
        self.replace_gap(before.max(after), new_gap) || around.is_first || around.is_last
    }

    /// Moves the upper half of the areas of a full leaf into `right`, an empty leaf with the
    /// number `id`, which becomes the next leaf.
    pub fn split(&self, right: &Self, id: u32) {
        right.next.set(self.next.get());
        self.next.set(Some(id));
        self.begin_write_both(right);
        self.balance(right);
        self.end_write_both(right);
    }

    /// Moves all areas of `right`, the next leaf, into this one if there is space. Otherwise
    /// makes both equally full. Returns whether `right` is empty now.
    pub fn merge(&self, right: &Self) -> bool {
        self.begin_write_both(right);
        let fits = self.len() + right.len() <= Self::CAPACITY;
        if fits {
            while right.len() > 0 {
                right.move_to(0, self, self.len());
            }
            self.next.set(right.next.get());
            self.measure();
        } else {
            self.balance(right);
        }
        self.end_write_both(right);
        fits
    }

    /// Makes this leaf and `right`, the next one, equally full.
    fn balance(&self, right: &Self) {
        while self.len() > right.len() + 1 {
            self.move_to(self.len() - 1, right, 0);
        }
        while right.len() > self.len() {
            right.move_to(0, self, self.len());
        }
        self.measure();
        right.measure();
    }

    /// Moves the area at `position`, which is below `len`, to `target_position` in `target`, which
    /// is not full.
    fn move_to(&self, position: usize, target: &Self, target_position: usize) {
        let from = self.order().slot(position);
        let to = target.occupy(target_position, &self.range_of(from));
        // SAFETY: the caller has exclusive access to the tree, and so no reference to a value
        // in it. The slot `from` is occupied, and `to` has been vacant until now.
        unsafe { target.slots[to].move_from(&self.slots[from]) };
        self.vacate(position);
    }

    /// Enters an area at `range` into the order, at `position`. Returns its slot, whose value
    /// is yet to be written.
    #[inline(always)]
    fn occupy(&self, position: usize, range: &Range<usize>) -> usize {
        let mut order = self.order();
        let slot = order.insert(position);
        self.set_range_of(slot, range);
        self.order.set(order.to_bits());
        slot
    }

    /// Takes the area at `position` out of the order.
    #[inline(always)]
    fn vacate(&self, position: usize) {
        let mut order = self.order();
        let slot = order.remove(position);
        self.set_range_of(slot, &(VACANT..VACANT));
        self.gaps[slot].set(0);
        self.order.set(order.to_bits());
    }
}

impl Leaf<WordSlot> {
    /// Replaces the flags of the area at `position` by `word`.
    #[inline]
    pub fn set_flags_word(&self, position: usize, word: usize) {
        self.seq.begin_write();
        self.slots[self.order().slot(position)].set_flags_word(word);
        self.seq.end_write();
    }

    /// Finds the area that contains `addr`. Another thread may change the leaf meanwhile, and the
    /// leaf may be free. Returns `None` if there is no such area, or if the leaf was changed
    /// meanwhile.
    #[inline(always)]
    pub fn peek(&self, addr: usize) -> Option<PeekedArea> {
        let count = self.seq.begin_read()?;
        let order = self.order();
        let position = self.search_in(order, addr);
        if position >= order.len() {
            return None;
        }
        let slot = order.slot(position);
        let Range { start, end } = self.range_of(slot);
        let words = self.slots[slot].words();
        if start > addr || !self.seq.is_unchanged(count) {
            return None;
        }
        Some(PeekedArea {
            start,
            end,
            words,
            count,
        })
    }

    /// Returns whether the leaf has been left alone since [`peek`](Self::peek) returned the
    /// count `count`.
    #[inline(always)]
    pub fn is_unchanged(&self, count: usize) -> bool {
        self.seq.is_unchanged(count)
    }
}

/// What is around an area in its leaf.
struct Surroundings {
    /// Whether the leaf has no area before it.
    is_first: bool,
    /// Whether the leaf has no area after it.
    is_last: bool,
    /// The end of the area before it, or its own start if it is the first.
    start: usize,
    /// The start of the area after it, or its own end if it is the last.
    end: usize,
}

impl Surroundings {
    /// Returns the gaps before and after an area at `range`.
    #[inline(always)]
    fn gaps_beside(&self, range: &Range<usize>) -> (usize, usize) {
        let before = range.start.saturating_sub(self.start);
        (before, self.end.saturating_sub(range.end))
    }

    /// Returns the gap that there is without the area. The leaf counts no gap at its own ends.
    #[inline(always)]
    fn gap_without_area(&self) -> usize {
        match self.is_first || self.is_last {
            true => 0,
            false => self.end.saturating_sub(self.start),
        }
    }
}

#[cfg(test)]
impl<S> Leaf<S> {
    /// Panics if an invariant of the leaf does not hold. Returns its extent.
    pub fn check(&self) -> Extent {
        let order = self.order();
        let areas: Vec<_> = (0..self.len())
            .map(|position| self.range_of(order.slot(position)))
            .collect();
        assert!(areas.iter().all(|area| area.start < area.end));
        assert!(areas.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for position in self.len()..Self::CAPACITY {
            let slot = order.slot(position);
            assert_eq!(self.range_of(slot), VACANT..VACANT);
            assert_eq!(self.gaps[slot].get(), 0);
        }
        for (position, area) in areas.iter().enumerate() {
            let before = position.checked_sub(1).map(|before| areas[before].end);
            let gap = before.map_or(0, |end| area.start - end);
            assert_eq!(self.gaps[order.slot(position)].get(), gap);
        }
        let gaps = areas.windows(2).map(|pair| pair[1].start - pair[0].end);
        let extent = Extent {
            start: areas[0].start,
            end: areas[areas.len() - 1].end,
            gap: gaps.max().unwrap_or(0),
        };
        assert_eq!(extent, self.extent());
        extent
    }
}
