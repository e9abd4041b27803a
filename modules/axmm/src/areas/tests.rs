//! Single cases; the [`model`] has the random ones.

use super::*;

mod model;
mod nosy;
mod peeking;

/// Physical memory from an address on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct From(usize);

impl Backing for From {
    fn pack(self) -> [usize; 2] {
        [self.0, 0]
    }

    fn unpack([paddr, _]: [usize; 2]) -> Self {
        Self(paddr)
    }

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
    let areas = Areas::empty();
    for &(start, end) in spans {
        areas.reserve(1).unwrap();
        areas.insert(Area::new(start..end, RW, "test", From(0x1000_0000 + start)));
    }
    areas
}

/// As an operation does, in pieces of one area.
fn set_flags(areas: &Areas<From>, span: &Span, flags: MappingFlags) {
    areas.cut(span);
    let mut from = span.start;
    while let Some(reached) = areas.set_flags(&(from..span.end), flags, 1) {
        from = reached;
    }
}

fn listing(areas: &Areas<From>) -> Vec<(usize, usize, MappingFlags)> {
    let all = areas.iter();
    all.map(|a| {
        assert_eq!(a.backing(), From(0x1000_0000 + a.span().start));
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
    let areas = areas(&[(0x1000, 0x9000)]);
    areas.reserve_cuts(&(0x3000..0x4000)).unwrap();
    areas.remove(&(0x3000..0x4000), 1);
    assert_eq!(
        listing(&areas),
        [(0x1000, 0x3000, RW), (0x4000, 0x9000, RW)]
    );
    assert!(areas.find(0x3000).is_none() && areas.find(0x4000).is_some());
    assert!(!areas.cover(&(0x2000..0x5000)) && areas.cover(&(0x4000..0x9000)));
}

#[test]
fn rights_split_areas_and_their_return_joins_them() {
    let areas = areas(&[(0x1000, 0x9000)]);
    areas.reserve_cuts(&(0x2000..0x4000)).unwrap();
    set_flags(&areas, &(0x2000..0x4000), RO);
    assert_eq!(
        listing(&areas),
        [
            (0x1000, 0x2000, RW),
            (0x2000, 0x4000, RO),
            (0x4000, 0x9000, RW)
        ]
    );
    set_flags(&areas, &(0x2000..0x4000), RW);
    assert_eq!(listing(&areas), [(0x1000, 0x9000, RW)]);
}

#[test]
#[cfg_attr(miri, ignore = "takes an hour")]
fn a_promise_holds_however_high_the_tree_grows() {
    let areas = areas(&[(0, 0x1000)]);
    let promise = areas.promise(2).unwrap();
    for start in (1..8000).map(|page| page * 0x2000) {
        areas.reserve(1).unwrap();
        let end = start + 0x1000;
        areas.insert(Area::new(start..end, RW, "test", From(start)));
    }
    // Another area, and then those that are promised.
    areas.reserve(1).unwrap();
    let depth = areas.tree.check();
    let (leaves, inners) = areas.tree.room();
    assert!(depth > 2 && leaves >= 3 && inners >= 3 * (depth + 1));
    areas.keep(promise);
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
