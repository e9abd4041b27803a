//! A leaf of the tree: the areas themselves.

use core::mem::MaybeUninit;
use core::ptr;

use page_table_multiarch::MappingFlags;

use super::order::Order;
use super::pool::Node;
use super::version::Version;
use super::{Area, Backing, Extent, Span};

/// Slots of a leaf. One more than an [`Order`] can order: an order answers slot
/// numbers of four bits, which need no check here.
const SLOTS: usize = 16;

/// Behind all areas, so that a search ends at a free slot at the latest.
const NOWHERE: Span = usize::MAX..usize::MAX;

/// Up to 15 areas, in any slots, and their [`Order`].
pub struct Leaf<B> {
    /// Another after whatever has been changed.
    version: Version,
    extent: Extent,
    order: Order,
    /// The leaf behind this one.
    next: Option<u32>,
    /// The addresses of each slot's area; [`NOWHERE`] for a free slot.
    spans: [Span; SLOTS],
    /// The gap between each slot's area and the one before; 0 for the first, and
    /// for a free slot.
    gaps: [usize; SLOTS],
    areas: [Option<Area<B>>; SLOTS],
}

impl<B> Node for Leaf<B> {
    fn new() -> Self {
        Self {
            version: Version::first(),
            extent: Extent::EMPTY,
            order: Order::EMPTY,
            next: None,
            spans: [NOWHERE; SLOTS],
            gaps: [0; SLOTS],
            areas: [const { None }; SLOTS],
        }
    }

    fn empty(&mut self) {
        self.version.begin();
        self.extent = Extent::EMPTY;
        self.order = Order::EMPTY;
        self.next = None;
        self.spans = [NOWHERE; SLOTS];
        self.gaps = [0; SLOTS];
        self.areas = [const { None }; SLOTS];
        self.version.end();
    }
}

impl<B: Backing> Leaf<B> {
    /// The most areas.
    const CAPACITY: usize = Order::CAPACITY;
    /// The fewest areas of a leaf that is not the only one.
    pub const FEWEST: usize = Self::CAPACITY / 2;

    /// How many areas there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.len() == Self::CAPACITY
    }

    /// From where to where they lie, and the largest gap between them.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The leaf behind this one.
    pub fn next(&self) -> Option<u32> {
        self.next
    }

    /// The area at `position`.
    pub fn get(&self, position: usize) -> Option<&Area<B>> {
        match position < self.len() {
            true => self.areas[self.order.slot(position)].as_ref(),
            false => None,
        }
    }

    /// Gives the area at `position` the rights `flags`.
    pub fn set_flags(&mut self, position: usize, flags: MappingFlags) {
        self.version.begin();
        if let Some(area) = &mut self.areas[self.order.slot(position)] {
            area.flags = flags;
        }
        self.version.end();
    }

    /// The position of the first area that ends above `addr`, which is not the
    /// highest address of all; `len` if none does.
    pub fn search(&self, addr: usize) -> usize {
        let mut position = 0;
        for step in [8, 4, 2, 1] {
            if self.end(position + step - 1) <= addr {
                position += step;
            }
        }
        position
    }

    /// The area of the leaf at `this` that `addr` lies in, as it was at the version
    /// answered with it, while another may change the leaf. `None` if there is none, or
    /// the leaf has been changed meanwhile.
    ///
    /// # Safety
    ///
    /// There is a leaf, in use or not, for as long as this takes.
    pub unsafe fn peek(this: *const Self, addr: usize) -> Option<(Area<B>, usize)> {
        // SAFETY: the caller's promise, here and below; slots are below `SLOTS`.
        let version = unsafe { (*this).version.read() }?;
        // SAFETY: as above.
        let order = unsafe { ptr::read_volatile(&raw const (*this).order) };
        let span = |position| {
            let slot = order.slot(position);
            // SAFETY: as above.
            unsafe { ptr::read_volatile((&raw const (*this).spans).cast::<Span>().add(slot)) }
        };
        let mut position = 0;
        for step in [8, 4, 2, 1] {
            if span(position + step - 1).end <= addr {
                position += step;
            }
        }
        if position >= order.len() || span(position).start > addr {
            return None;
        }
        // SAFETY: as above.
        let areas = unsafe { &raw const (*this).areas }.cast::<MaybeUninit<Option<Area<B>>>>();
        // SAFETY: as above; it is any bytes until it is known that nobody wrote them.
        let area = unsafe { ptr::read_volatile(areas.add(order.slot(position))) };
        // SAFETY: as above.
        if !unsafe { (*this).version.is_still(version) } {
            return None;
        }
        // SAFETY: nobody wrote them while they were read: it is what the slot holds.
        let area = unsafe { area.assume_init_ref() }.clone()?;
        Some((area, version))
    }

    /// The version of the leaf at `this`.
    ///
    /// # Safety
    ///
    /// As [`peek`](Self::peek).
    pub unsafe fn is_still(this: *const Self, version: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { (*this).version.is_still(version) }
    }

    /// The first gap between two areas of the leaf that ends above `addr` and has
    /// `size` bytes, at least one.
    pub fn gap(&self, addr: usize, size: usize) -> Option<Span> {
        (self.search(addr)..self.len()).find_map(|position| {
            let slot = self.order.slot(position);
            let start = self.spans[slot].start;
            let fits = self.gaps[slot] >= size && start > addr;
            fits.then(|| start.saturating_sub(self.gaps[slot])..start)
        })
    }

    /// Adds `area` at `position`, not above `len`, to a leaf with room. Answers
    /// whether the [extent](Self::extent) has changed.
    pub fn insert(&mut self, position: usize, area: Area<B>) -> bool {
        let span = area.span();
        let room = self.room(position, position, &span);
        self.version.begin();
        self.put(position, area);
        let changed = self.settle(position, &room, room.empty(), &span);
        self.version.end();
        changed
    }

    /// Takes the area at `position` out. Answers whether the extent has changed.
    pub fn remove(&mut self, position: usize) -> bool {
        let span = self.spans[self.order.slot(position)].clone();
        let room = self.room(position, position + 1, &span);
        self.version.begin();
        self.pull(position);
        self.version.end();
        let come = room.empty();
        if room.first {
            self.extent.start = room.high;
        }
        match room.last {
            true => self.extent.end = room.low,
            false => self.gaps[self.order.slot(position)] = come,
        }
        let (below, above) = room.around(&span);
        self.replace_gaps(below.max(above), come) || room.first || room.last
    }

    /// Changes the addresses of the area at `position`, which stays between its
    /// neighbours. Answers whether the extent has changed.
    pub fn reshape(&mut self, position: usize, change: impl FnOnce(&mut Area<B>)) -> bool {
        let slot = self.order.slot(position);
        let Some(area) = self.areas[slot].as_mut() else {
            return false;
        };
        self.version.begin();
        let old = area.span();
        change(area);
        let new = area.span();
        self.spans[slot] = new.clone();
        self.version.end();
        let room = self.room(position, position + 1, &new);
        let (below, above) = room.around(&old);
        self.settle(position, &room, below.max(above), &new)
    }

    /// Moves the upper half of a full leaf into `right`, an empty one with the
    /// number `id`, which comes to lie behind it.
    pub fn split(&mut self, right: &mut Self, id: u32) {
        right.next = self.next.replace(id);
        self.begin_both(right);
        self.share(right);
        self.end_both(right);
    }

    /// Makes this leaf and `right`, the one behind it, one if there is room.
    /// Otherwise makes them equally full. Answers whether `right` is empty now.
    pub fn merge(&mut self, right: &mut Self) -> bool {
        self.begin_both(right);
        let fits = self.len() + right.len() <= Self::CAPACITY;
        if fits {
            while let Some(area) = right.pull(0) {
                self.put(self.len(), area);
            }
            self.next = right.next;
            self.measure();
        } else {
            self.share(right);
        }
        self.end_both(right);
        fits
    }

    fn begin_both(&mut self, right: &mut Self) {
        self.version.begin();
        right.version.begin();
    }

    fn end_both(&mut self, right: &mut Self) {
        self.version.end();
        right.version.end();
    }

    fn share(&mut self, right: &mut Self) {
        while self.len() > right.len() + 1
            && let Some(area) = self.pull(self.len() - 1)
        {
            right.put(0, area);
        }
        while right.len() > self.len()
            && let Some(area) = right.pull(0)
        {
            self.put(self.len(), area);
        }
        self.measure();
        right.measure();
    }

    fn put(&mut self, position: usize, area: Area<B>) {
        let mut order = self.order;
        let slot = order.insert(position);
        self.spans[slot] = area.span();
        self.areas[slot] = Some(area);
        self.order = order;
    }

    fn pull(&mut self, position: usize) -> Option<Area<B>> {
        if position >= self.len() {
            return None;
        }
        let slot = self.order.remove(position);
        self.spans[slot] = NOWHERE;
        self.gaps[slot] = 0;
        self.areas[slot].take()
    }

    fn start(&self, position: usize) -> usize {
        self.spans[self.order.slot(position)].start
    }

    fn end(&self, position: usize) -> usize {
        self.spans[self.order.slot(position)].end
    }

    /// The room for an area at `span` between the one before `position` and the
    /// one at `next`.
    fn room(&self, position: usize, next: usize, span: &Span) -> Room {
        let (first, last) = (position == 0, next >= self.len());
        Room {
            first,
            last,
            low: if first {
                span.start
            } else {
                self.end(position - 1)
            },
            high: if last { span.end } else { self.start(next) },
        }
    }

    /// Takes over that the area at `position` is at `span` in `room` now, where
    /// gaps up to `gone` were. Answers whether the extent has changed.
    fn settle(&mut self, position: usize, room: &Room, gone: usize, span: &Span) -> bool {
        let (below, above) = room.around(span);
        self.gaps[self.order.slot(position)] = below;
        if room.first {
            self.extent.start = span.start;
        }
        match room.last {
            true => self.extent.end = span.end,
            false => self.gaps[self.order.slot(position + 1)] = above,
        }
        self.replace_gaps(gone, below.max(above)) || room.first || room.last
    }

    /// Takes over that gaps up to `gone` have made place for gaps up to `come`.
    /// Answers whether the largest has changed.
    fn replace_gaps(&mut self, gone: usize, come: usize) -> bool {
        let old = self.extent.gap;
        if come >= old {
            self.extent.gap = come;
        } else if gone >= old {
            self.extent.gap = self.largest_gap(old);
        }
        self.extent.gap != old
    }

    /// Finds all gaps and the extent anew.
    fn measure(&mut self) {
        self.gaps = [0; SLOTS];
        self.extent = Extent::EMPTY;
        for position in 0..self.len() {
            let slot = self.order.slot(position);
            let Span { start, end } = self.spans[slot].clone();
            match position {
                0 => self.extent.start = start,
                _ => self.gaps[slot] = start.saturating_sub(self.extent.end),
            }
            self.extent.end = end;
            self.extent.gap = self.extent.gap.max(self.gaps[slot]);
        }
    }

    /// The largest gap, which is known to be at most `bound`.
    fn largest_gap(&self, bound: usize) -> usize {
        let mut largest = 0;
        for &gap in &self.gaps {
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
        let areas: Vec<_> = (0..self.len()).filter_map(|i| self.get(i)).collect();
        assert_eq!(areas.len(), self.len());
        assert_eq!(self.areas.iter().flatten().count(), self.len());
        assert!(areas.iter().all(|area| !area.span.is_empty()));
        let pairs = || areas.windows(2).map(|pair| (pair[0], pair[1]));
        assert!(pairs().all(|(a, b)| a.span.end <= b.span.start && !a.continues(b)));
        for (slot, area) in self.areas.iter().enumerate() {
            let span = area.as_ref().map_or(NOWHERE, Area::span);
            assert_eq!(self.spans[slot], span);
        }
        for position in 0..self.len() {
            let before = position.checked_sub(1).map(|before| areas[before].span.end);
            let gap = before.map_or(0, |end| areas[position].span.start - end);
            assert_eq!(self.gaps[self.order.slot(position)], gap);
        }
        let gaps = pairs().map(|(a, b)| b.span.start - a.span.end);
        let extent = Extent {
            start: areas[0].span.start,
            end: areas[areas.len() - 1].span.end,
            gap: gaps.max().unwrap_or(0),
        };
        assert!(extent == self.extent);
        extent
    }
}
