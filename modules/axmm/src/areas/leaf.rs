//! A leaf of the tree: the areas themselves.

use core::marker::PhantomData;

use page_table_multiarch::MappingFlags;

use super::area::{Packed, PackedArea};
use super::entry::{Details, Entry};
use super::order::Order;
use super::pool::Node;
use super::version::Version;
use super::word::{Link, Word};
use super::{Area, Backing, Extent, Span};

#[cfg(all(test, loom))]
mod interleavings;

/// Slots of a leaf. One more than an [`Order`] can order: an order returns slot
/// numbers of four bits, which need no check here.
const SLOTS: usize = 16;

/// Where the area of a free slot starts and ends: behind all areas, so that a search ends
/// at a free slot at the latest.
const NOWHERE: usize = usize::MAX;

/// Up to 15 areas, in any slots, and their [`Order`].
pub struct Leaf<B> {
    /// Of the order, the addresses and the details. What else there is others do not read.
    version: Version,
    order: Word,
    /// From where to where the areas lie, and the largest gap between them.
    start: Word,
    end: Word,
    gap: Word,
    /// The leaf behind this one.
    next: Link,
    /// The addresses of each slot's area; [`NOWHERE`] for a free slot.
    starts: [Word; SLOTS],
    ends: [Word; SLOTS],
    /// The gap between each slot's area and the one before; 0 for the first, and
    /// for a free slot.
    gaps: [Word; SLOTS],
    details: [Details; SLOTS],
    _backing: PhantomData<B>,
}

impl<B> Node for Leaf<B> {
    fn new() -> Self {
        Self {
            version: Version::first(),
            order: Word::new(Order::EMPTY.to_bits()),
            start: Word::new(0),
            end: Word::new(0),
            gap: Word::new(0),
            next: Link::none(),
            starts: Word::row(NOWHERE),
            ends: Word::row(NOWHERE),
            gaps: Word::row(0),
            details: core::array::from_fn(|_| Details::none()),
            _backing: PhantomData,
        }
    }

    fn empty(&self) {
        self.version.begin();
        self.order.set(Order::EMPTY.to_bits());
        Word::fill(&self.starts, NOWHERE);
        Word::fill(&self.ends, NOWHERE);
        self.version.end();
        Word::fill(&self.gaps, 0);
        self.set_extent(Extent::EMPTY);
    }

    fn link(&self) -> &Link {
        &self.next
    }
}

impl<B> Leaf<B> {
    fn order(&self) -> Order {
        Order::from_bits(self.order.get())
    }

    fn set_extent(&self, extent: Extent) {
        self.start.set(extent.start);
        self.end.set(extent.end);
        self.gap.set(extent.gap);
    }

    /// Where the area in `slot`, below `SLOTS`, starts.
    #[inline(always)]
    pub fn slot_start(&self, slot: usize) -> usize {
        self.starts[slot].get()
    }

    /// Where the area in `slot`, below `SLOTS`, ends.
    #[inline(always)]
    pub fn slot_end(&self, slot: usize) -> usize {
        self.ends[slot].get()
    }

    /// What the area in `slot`, below `SLOTS`, is besides its addresses.
    #[inline(always)]
    pub fn details(&self, slot: usize) -> &Details {
        &self.details[slot]
    }

    fn slot_span(&self, slot: usize) -> Span {
        self.slot_start(slot)..self.slot_end(slot)
    }

    fn place(&self, slot: usize, span: &Span) {
        self.starts[slot].set(span.start);
        self.ends[slot].set(span.end);
    }

    /// Whether no area has been changed since `version`, while another hart may change
    /// some.
    #[inline(always)]
    pub fn is_still(&self, version: usize) -> bool {
        self.version.is_still(version)
    }
}

impl<B: Backing> Leaf<B> {
    /// The most areas.
    const CAPACITY: usize = Order::CAPACITY;
    /// The fewest areas of a leaf that is not the only one.
    pub const FEWEST: usize = Self::CAPACITY / 2;

    /// How many areas there are.
    pub fn len(&self) -> usize {
        self.order().len()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.len() == Self::CAPACITY
    }

    /// Where the first area starts.
    pub fn start(&self) -> usize {
        self.start.get()
    }

    /// Where the last area ends.
    pub fn end(&self) -> usize {
        self.end.get()
    }

    /// From where to where they lie, and the largest gap between them.
    pub fn extent(&self) -> Extent {
        Extent {
            start: self.start.get(),
            end: self.end.get(),
            gap: self.gap.get(),
        }
    }

    /// The leaf behind this one.
    pub fn next(&self) -> Option<u32> {
        self.next.get()
    }

    /// The area at `position`.
    pub fn get(&self, position: usize) -> Option<Entry<'_, B>> {
        let order = self.order();
        (position < order.len()).then(|| Entry::new(self, order.slot(position)))
    }

    /// Gives the area at `position` the rights `flags`.
    pub fn set_flags(&self, position: usize, flags: MappingFlags) {
        self.version.begin();
        self.details[self.order().slot(position)].set_flags(flags);
        self.version.end();
    }

    /// The position of the first area that ends above `addr`, which is not the
    /// highest address of all; `len` if none does.
    pub fn search(&self, addr: usize) -> usize {
        self.search_in(self.order(), addr)
    }

    #[inline(always)]
    fn search_in(&self, order: Order, addr: usize) -> usize {
        let mut position = 0;
        for step in [8, 4, 2, 1] {
            if self.slot_end(order.slot(position + step - 1)) <= addr {
                position += step;
            }
        }
        position
    }

    /// The area that `addr` lies in, as it was at the version that is returned with it,
    /// while another hart may change the leaf, in use or not. `None` if there is none, or
    /// the leaf has been changed meanwhile.
    pub fn peek(&self, addr: usize) -> Option<(Area<B>, usize)> {
        let version = self.version.read()?;
        let order = self.order();
        let position = self.search_in(order, addr);
        if position >= order.len() {
            return None;
        }
        let slot = order.slot(position);
        let span = self.slot_span(slot);
        let words = self.details(slot).words();
        if span.start > addr || !self.version.is_still(version) {
            return None;
        }
        // SAFETY: the version was the same before and after the words were read, so none
        // was written meanwhile, and they are those of one area.
        let area = unsafe { words.into_area(span.start, span.end) };
        Some((area.unpack(), version))
    }

    /// The first gap between two areas of the leaf that ends above `addr` and has
    /// `size` bytes, at least one.
    pub fn gap(&self, addr: usize, size: usize) -> Option<Span> {
        self.gap_from(self.search(addr), addr, size)
    }

    /// The first gap between two areas of the leaf that has `size` bytes, at least one.
    pub fn first_gap(&self, size: usize) -> Option<Span> {
        self.gap_from(0, 0, size)
    }

    #[inline(always)]
    fn gap_from(&self, position: usize, addr: usize, size: usize) -> Option<Span> {
        let order = self.order();
        (position..order.len()).find_map(|position| {
            let slot = order.slot(position);
            let gap = self.gaps[slot].get();
            if gap < size {
                return None;
            }
            let start = self.slot_start(slot);
            (start > addr).then(|| start.saturating_sub(gap)..start)
        })
    }

    /// Adds `area` at `position`, not above `len`, to a leaf with room; `backing` is its
    /// backing's words. Returns whether the [extent](Self::extent) has changed.
    pub fn insert(&self, position: usize, area: &Area<B>, backing: Packed) -> bool {
        let span = area.span();
        let room = self.room(position, position, &span);
        self.version.begin();
        self.put(position, area, backing);
        self.version.end();
        self.settle(position, &room, room.empty(), &span)
    }

    /// Takes the area at `position` out. Returns whether the extent has changed.
    pub fn remove(&self, position: usize) -> bool {
        let span = self.slot_span(self.order().slot(position));
        let room = self.room(position, position + 1, &span);
        self.version.begin();
        self.take_out(position);
        self.version.end();
        let come = room.empty();
        if room.first {
            self.start.set(room.high);
        }
        match room.last {
            true => self.end.set(room.low),
            false => self.gaps[self.order().slot(position)].set(come),
        }
        let (below, above) = room.around(&span);
        self.replace_gaps(below.max(above), come) || room.first || room.last
    }

    /// Lets the area at `position` end at `end`, before its neighbour. Returns whether
    /// the extent has changed.
    pub fn set_end(&self, position: usize, end: usize) -> bool {
        let slot = self.order().slot(position);
        let old = self.slot_span(slot);
        self.version.begin();
        self.ends[slot].set(end);
        self.version.end();
        self.reshaped(position, &old, &(old.start..end))
    }

    /// Puts `area` in the place of the one at `position`, between its neighbours; `backing`
    /// is its backing's words. Returns whether the extent has changed.
    pub fn replace(&self, position: usize, area: &Area<B>, backing: Packed) -> bool {
        let slot = self.order().slot(position);
        let old = self.slot_span(slot);
        let new = area.span();
        self.version.begin();
        self.place(slot, &new);
        self.details[slot].set(area, backing);
        self.version.end();
        self.reshaped(position, &old, &new)
    }

    fn reshaped(&self, position: usize, old: &Span, new: &Span) -> bool {
        let room = self.room(position, position + 1, new);
        let (below, above) = room.around(old);
        self.settle(position, &room, below.max(above), new)
    }

    /// Moves the upper half of a full leaf into `right`, an empty one with the
    /// number `id`, which comes to lie behind it.
    pub fn split(&self, right: &Self, id: u32) {
        right.next.set(self.next.get());
        self.next.set(Some(id));
        self.begin_both(right);
        self.share(right);
        self.end_both(right);
    }

    /// Makes this leaf and `right`, the one behind it, one if there is room.
    /// Otherwise makes them equally full. Returns whether `right` is empty now.
    pub fn merge(&self, right: &Self) -> bool {
        self.begin_both(right);
        let fits = self.len() + right.len() <= Self::CAPACITY;
        if fits {
            while let Some(area) = right.pull(0) {
                self.put(self.len(), &area, area.backing);
            }
            self.next.set(right.next.get());
            self.measure();
        } else {
            self.share(right);
        }
        self.end_both(right);
        fits
    }

    fn begin_both(&self, right: &Self) {
        self.version.begin();
        right.version.begin();
    }

    fn end_both(&self, right: &Self) {
        self.version.end();
        right.version.end();
    }

    fn share(&self, right: &Self) {
        while self.len() > right.len() + 1
            && let Some(area) = self.pull(self.len() - 1)
        {
            right.put(0, &area, area.backing);
        }
        while right.len() > self.len()
            && let Some(area) = right.pull(0)
        {
            self.put(self.len(), &area, area.backing);
        }
        self.measure();
        right.measure();
    }

    fn put<T>(&self, position: usize, area: &Area<T>, backing: Packed) {
        let mut order = self.order();
        let slot = order.insert(position);
        self.place(slot, &area.span());
        self.details[slot].set(area, backing);
        self.order.set(order.to_bits());
    }

    fn take_out(&self, position: usize) {
        let mut order = self.order();
        let slot = order.remove(position);
        self.place(slot, &(NOWHERE..NOWHERE));
        self.gaps[slot].set(0);
        self.order.set(order.to_bits());
    }

    fn pull(&self, position: usize) -> Option<PackedArea> {
        let area = self.get(position)?.packed();
        self.take_out(position);
        Some(area)
    }

    /// The room for an area at `span` between the one before `position` and the
    /// one at `next`.
    fn room(&self, position: usize, next: usize, span: &Span) -> Room {
        let order = self.order();
        let (first, last) = (position == 0, next >= order.len());
        Room {
            first,
            last,
            low: match first {
                true => span.start,
                false => self.slot_end(order.slot(position - 1)),
            },
            high: match last {
                true => span.end,
                false => self.slot_start(order.slot(next)),
            },
        }
    }

    /// Takes over that the area at `position` is at `span` in `room` now, where
    /// gaps up to `gone` were. Returns whether the extent has changed.
    fn settle(&self, position: usize, room: &Room, gone: usize, span: &Span) -> bool {
        let order = self.order();
        let (below, above) = room.around(span);
        self.gaps[order.slot(position)].set(below);
        if room.first {
            self.start.set(span.start);
        }
        match room.last {
            true => self.end.set(span.end),
            false => self.gaps[order.slot(position + 1)].set(above),
        }
        self.replace_gaps(gone, below.max(above)) || room.first || room.last
    }

    /// Takes over that gaps up to `gone` have made place for gaps up to `come`.
    /// Returns whether the largest has changed.
    fn replace_gaps(&self, gone: usize, come: usize) -> bool {
        let old = self.gap.get();
        let new = match () {
            () if come >= old => come,
            () if gone >= old => self.largest_gap(old),
            () => old,
        };
        self.gap.set(new);
        new != old
    }

    /// Finds all gaps and the extent anew.
    fn measure(&self) {
        Word::fill(&self.gaps, 0);
        let order = self.order();
        let mut extent = Extent::EMPTY;
        for position in 0..order.len() {
            let slot = order.slot(position);
            let Span { start, end } = self.slot_span(slot);
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

    /// The largest gap, which is known to be at most `bound`.
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
}

/// What an area lies in: from the end of the one before it to the start of the one
/// behind it, or to its own, if it is the first or the last of its leaf.
struct Room {
    first: bool,
    last: bool,
    low: usize,
    high: usize,
}

impl Room {
    /// The gaps below and above an area at `span`.
    fn around(&self, span: &Span) -> (usize, usize) {
        let below = span.start.saturating_sub(self.low);
        (below, self.high.saturating_sub(span.end))
    }

    /// The gap if there is no area.
    fn empty(&self) -> usize {
        match self.first || self.last {
            true => 0,
            false => self.high.saturating_sub(self.low),
        }
    }
}

#[cfg(test)]
impl<B: Backing> Leaf<B> {
    /// Panics if anything is not as it has to be.
    pub fn check(&self) -> Extent {
        let order = self.order();
        let areas: Vec<_> = (0..self.len())
            .filter_map(|position| Some(self.get(position)?.area()))
            .collect();
        assert_eq!(areas.len(), self.len());
        assert!(areas.iter().all(|area| area.start < area.end));
        let pairs = || areas.windows(2).map(|pair| (pair[0], pair[1]));
        assert!(pairs().all(|(a, b)| a.end <= b.start && !a.continues(&b)));
        for position in self.len()..Self::CAPACITY {
            let slot = order.slot(position);
            assert_eq!(self.slot_span(slot), NOWHERE..NOWHERE);
            assert_eq!(self.gaps[slot].get(), 0);
        }
        for position in 0..self.len() {
            let before = position.checked_sub(1).map(|before| areas[before].end);
            let gap = before.map_or(0, |end| areas[position].start - end);
            assert_eq!(self.gaps[order.slot(position)].get(), gap);
        }
        let gaps = pairs().map(|(a, b)| b.start - a.end);
        let extent = Extent {
            start: areas[0].start,
            end: areas[areas.len() - 1].end,
            gap: gaps.max().unwrap_or(0),
        };
        assert!(extent == self.extent());
        extent
    }
}
