//! The areas of an address space: ranges of addresses with one set of rights and
//! one way of getting frames, in order, without overlaps.
//!
//! They lie in a sorted vector: found by binary search, and room for what an
//! operation adds is asked for before it changes anything, so that it cannot
//! fail half way for lack of memory. (`memory_set` 0.4.1 keeps a tree, whose
//! insertion cannot report that memory has run out, visits every area to unmap
//! one, and answers a failed backend without the reason.)

use alloc::vec::Vec;
use core::ops::Range;

use axerrno::{AxError, AxResult};
use page_table_multiarch::MappingFlags;

/// A page-aligned range of addresses.
pub type Span = Range<usize>;

/// What an area knows of where its frames come from.
pub trait Backing: Clone {
    /// What the part of an area that begins `offset` bytes in has behind it.
    fn at_offset(&self, offset: usize) -> Self;

    /// Whether `next` goes on where this ends, `len` bytes later.
    fn continues(&self, len: usize, next: &Self) -> bool;
}

/// A range of addresses with one set of rights and one backing.
#[derive(Clone, Debug)]
pub struct Area<B> {
    span: Span,
    flags: MappingFlags,
    name: &'static str,
    backing: B,
}

impl<B: Backing> Area<B> {
    /// An area; `name` is for people.
    pub fn new(span: Span, flags: MappingFlags, name: &'static str, backing: B) -> Self {
        Self {
            span,
            flags,
            name,
            backing,
        }
    }

    /// Its addresses.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Its rights.
    pub fn flags(&self) -> MappingFlags {
        self.flags
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its frames come from.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// The part of the area that lies in `span`, which it overlaps.
    pub fn part(&self, span: &Span) -> Self {
        let start = self.span.start.max(span.start);
        let end = self.span.end.min(span.end);
        Self {
            span: start..end,
            backing: self.backing.at_offset(start - self.span.start),
            ..self.clone()
        }
    }

    fn continues(&self, next: &Self) -> bool {
        self.span.end == next.span.start
            && self.flags == next.flags
            && self.name == next.name
            && self.backing.continues(self.span.len(), &next.backing)
    }
}

/// All areas of an address space.
#[derive(Debug)]
pub struct Areas<B> {
    sorted: Vec<Area<B>>,
}

impl<B: Backing> Areas<B> {
    /// None.
    pub const fn empty() -> Self {
        Self { sorted: Vec::new() }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Area<B>> {
        self.sorted.iter()
    }

    /// The area that `addr` lies in.
    pub fn find(&self, addr: usize) -> Option<&Area<B>> {
        let index = self.first_ending_after(addr);
        self.sorted
            .get(index)
            .filter(|area| area.span.start <= addr)
    }

    /// The areas that overlap `span`, in order.
    pub fn overlapping(&self, span: &Span) -> &[Area<B>] {
        &self.sorted[self.overlap(span)]
    }

    /// Whether every address of `span` is in an area.
    pub fn cover(&self, span: &Span) -> bool {
        let mut reached = span.start;
        for area in self.overlapping(span) {
            if area.span.start > reached {
                return false;
            }
            reached = area.span.end;
        }
        reached >= span.end
    }

    /// The lowest start of `size` bytes without an area, aligned to `align`, not
    /// below `hint`, that end within `limit`.
    pub fn find_free(&self, hint: usize, size: usize, limit: &Span, align: usize) -> Option<usize> {
        let mut start = hint.max(limit.start).checked_next_multiple_of(align)?;
        for area in &self.sorted[self.first_ending_after(start)..] {
            if start.checked_add(size)? <= area.span.start {
                break;
            }
            start = start.max(area.span.end).checked_next_multiple_of(align)?;
        }
        (start.checked_add(size)? <= limit.end).then_some(start)
    }

    /// Makes sure that `count` areas can be added without asking for memory.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn reserve(&mut self, count: usize) -> AxResult {
        self.sorted
            .try_reserve(count)
            .map_err(|_| AxError::NoMemory)
    }

    /// Makes sure that `span` can be cut out of the areas without asking for
    /// memory: one more for each of its ends that lies inside an area.
    ///
    /// # Errors
    ///
    /// `NoMemory`; never where no area is cut.
    pub fn reserve_cuts(&mut self, span: &Span) -> AxResult {
        let inside = |addr| self.find(addr).is_some_and(|area| area.span.start < addr);
        let cuts = [span.start, span.end]
            .into_iter()
            .filter(|&addr| inside(addr));
        self.reserve(cuts.count())
    }

    /// Adds an area where there is none. Room has been [reserved](Self::reserve).
    pub fn insert(&mut self, area: Area<B>) {
        let index = self.first_ending_after(area.span.start);
        self.sorted.insert(index, area);
        self.join_around(index..index + 1);
    }

    /// Takes `span` out of every area it overlaps. Room for the cuts has been
    /// [reserved](Self::reserve_cuts).
    pub fn remove(&mut self, span: &Span) {
        let inside = self.cut(span);
        self.sorted.drain(inside);
    }

    /// Gives the parts of areas that lie in `span` the rights `flags`. Room for
    /// the cuts has been [reserved](Self::reserve_cuts).
    pub fn set_flags(&mut self, span: &Span, flags: MappingFlags) {
        let inside = self.cut(span);
        for area in &mut self.sorted[inside.clone()] {
            area.flags = flags;
        }
        self.join_around(inside);
    }

    fn first_ending_after(&self, addr: usize) -> usize {
        self.sorted.partition_point(|area| area.span.end <= addr)
    }

    fn overlap(&self, span: &Span) -> Range<usize> {
        let first = self.first_ending_after(span.start);
        let count = self.sorted[first..].partition_point(|area| area.span.start < span.end);
        first..first + count
    }

    /// Makes both ends of `span` boundaries between areas, and answers which
    /// areas lie inside.
    fn cut(&mut self, span: &Span) -> Range<usize> {
        self.cut_at(span.start);
        self.cut_at(span.end);
        self.overlap(span)
    }

    fn cut_at(&mut self, addr: usize) {
        let index = self.first_ending_after(addr);
        if let Some(area) = self.sorted.get_mut(index)
            && area.span.start < addr
        {
            let right = area.part(&(addr..area.span.end));
            area.span.end = addr;
            self.sorted.insert(index + 1, right);
        }
    }

    /// Joins neighbours that are one area, from the one before `changed` to the
    /// one behind it.
    fn join_around(&mut self, changed: Range<usize>) {
        let first = changed.start.saturating_sub(1);
        let last = changed.end.min(self.sorted.len().saturating_sub(1));
        for index in (first..last).rev() {
            if self.sorted[index].continues(&self.sorted[index + 1]) {
                self.sorted[index].span.end = self.sorted[index + 1].span.end;
                self.sorted.remove(index + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Physical memory from an address on.
    #[derive(Clone, Debug, PartialEq)]
    struct From(usize);

    impl Backing for From {
        fn at_offset(&self, offset: usize) -> Self {
            Self(self.0 + offset)
        }

        fn continues(&self, len: usize, next: &Self) -> bool {
            self.0 + len == next.0
        }
    }

    const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
    const RO: MappingFlags = MappingFlags::READ;

    fn areas(spans: &[(usize, usize)]) -> Areas<From> {
        let mut areas = Areas::empty();
        for &(start, end) in spans {
            areas.reserve(1).unwrap();
            areas.insert(Area::new(start..end, RW, "test", From(0x1000_0000 + start)));
        }
        areas
    }

    fn listing(areas: &Areas<From>) -> Vec<(usize, usize, MappingFlags)> {
        let all = areas.iter();
        all.map(|a| {
            assert_eq!(*a.backing(), From(0x1000_0000 + a.span().start));
            (a.span().start, a.span().end, a.flags())
        })
        .collect()
    }

    #[test]
    fn neighbours_with_one_backing_are_one_area() {
        let areas = areas(&[(0x3000, 0x4000), (0x1000, 0x2000), (0x2000, 0x3000)]);
        assert_eq!(listing(&areas), [(0x1000, 0x4000, RW)]);
    }

    #[test]
    fn a_cut_in_the_middle_leaves_both_sides() {
        let mut areas = areas(&[(0x1000, 0x9000)]);
        areas.sorted.shrink_to_fit();
        areas.reserve_cuts(&(0x3000..0x4000)).unwrap();
        let capacity = areas.sorted.capacity();
        areas.remove(&(0x3000..0x4000));
        assert_eq!(areas.sorted.capacity(), capacity);
        assert_eq!(
            listing(&areas),
            [(0x1000, 0x3000, RW), (0x4000, 0x9000, RW)]
        );
        assert!(areas.find(0x3000).is_none() && areas.find(0x4000).is_some());
        assert!(!areas.cover(&(0x2000..0x5000)) && areas.cover(&(0x4000..0x9000)));
    }

    #[test]
    fn rights_split_areas_and_their_return_joins_them() {
        let mut areas = areas(&[(0x1000, 0x9000)]);
        areas.reserve_cuts(&(0x2000..0x4000)).unwrap();
        areas.set_flags(&(0x2000..0x4000), RO);
        assert_eq!(
            listing(&areas),
            [
                (0x1000, 0x2000, RW),
                (0x2000, 0x4000, RO),
                (0x4000, 0x9000, RW)
            ]
        );
        areas.set_flags(&(0x2000..0x4000), RW);
        assert_eq!(listing(&areas), [(0x1000, 0x9000, RW)]);
    }

    #[test]
    fn the_lowest_gap_that_fits_is_found_and_the_limit_kept() {
        let areas = areas(&[(0x2000, 0x3000), (0x5000, 0x6000)]);
        let find = |hint, size, limit| areas.find_free(hint, size, &limit, 0x1000);
        assert_eq!(find(0, 0x1000, 0x1000..0x9000), Some(0x1000));
        assert_eq!(find(0, 0x2000, 0x1000..0x9000), Some(0x3000));
        assert_eq!(find(0x4000, 0x2000, 0x1000..0x9000), Some(0x6000));
        assert_eq!(find(0, 0x4000, 0x1000..0x9000), None);
        assert_eq!(find(0, usize::MAX, 0..usize::MAX), None);
        assert_eq!(areas.find_free(0, 0x1000, &(0..0x10000), 0x4000), Some(0));
        assert_eq!(
            areas.find_free(1, 0x1000, &(0..0x10000), 0x4000),
            Some(0x4000)
        );
        assert_eq!(
            areas.find_free(1, 0x2000, &(0..0x10000), 0x4000),
            Some(0x8000)
        );
    }
}
