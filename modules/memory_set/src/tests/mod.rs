//! Unit tests of sets with word backends. Single cases are here, random ones in [`model`].

use std::ops::Range;

use memory_addr::AddrRange;

use crate::backend::{AreaBackend, BackendWords, WordBackend};
use crate::node::slot::WordSlot;
use crate::*;

mod model;
mod peek_beside_changes;
mod reentrant_backend;

/// Physical memory at a fixed distance from the virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Offset(usize);

impl AreaBackend for Offset {
    type Addr = usize;
    type Flags = u8;
    type Slot = WordSlot;
}

impl WordBackend for Offset {
    fn flags_to_word(flags: u8) -> usize {
        flags.into()
    }

    fn flags_from_word(word: usize) -> u8 {
        word as u8
    }

    fn to_words(self) -> BackendWords {
        [self.0, !self.0, 0, 0]
    }

    unsafe fn from_words([offset, inverse, ..]: BackendWords) -> Self {
        assert_eq!(offset, !inverse, "words of two backends");
        Self(offset)
    }
}

const RO: u8 = 1;
const RW: u8 = 3;

type Set = MemorySet<Offset>;

fn range(range: Range<usize>) -> AddrRange<usize> {
    AddrRange::new(range.start, range.end)
}

fn area(at: Range<usize>, flags: u8, offset: usize) -> MemoryArea<Offset> {
    MemoryArea::from_range(range(at), flags, Offset(offset))
}

fn set_of(ranges: &[(usize, usize)]) -> Set {
    let set = Set::new();
    for &(start, end) in ranges {
        set.reserve(1).unwrap();
        set.insert(range(start..end), RW, &Offset(0));
    }
    set
}

/// Changes flags as an operation does, one area at a time.
fn set_flags(set: &Set, at: Range<usize>, flags: u8) {
    set.split_at_ends(range(at.clone()));
    let mut from = at.start;
    while let Some(reached) = set.set_flags(range(from..at.end), flags, 1) {
        from = reached;
    }
}

fn listing(set: &Set) -> Vec<(usize, usize, u8)> {
    let areas = set.areas();
    areas
        .map(|area| (area.start(), area.end(), area.flags()))
        .collect()
}

#[test]
fn neighbours_with_one_backend_are_merged() {
    let set = set_of(&[(0x3000, 0x4000), (0x1000, 0x2000), (0x2000, 0x3000)]);
    assert_eq!(listing(&set), [(0x1000, 0x4000, RW)]);
}

#[test]
fn neighbours_with_different_backends_stay_two_areas() {
    let set = set_of(&[(0x1000, 0x2000)]);
    set.reserve(2).unwrap();
    set.insert(range(0x2000..0x3000), RW, &Offset(1));
    set.insert(range(0x3000..0x4000), RO, &Offset(1));
    let expected = [
        (0x1000, 0x2000, RW),
        (0x2000, 0x3000, RW),
        (0x3000, 0x4000, RO),
    ];
    assert_eq!(listing(&set), expected);
}

#[test]
fn a_cut_in_the_middle_leaves_both_sides() {
    let set = set_of(&[(0x1000, 0x9000)]);
    set.reserve_cut(range(0x3000..0x4000)).unwrap();
    set.remove(range(0x3000..0x4000), 1);
    assert_eq!(listing(&set), [(0x1000, 0x3000, RW), (0x4000, 0x9000, RW)]);
    assert!(set.area_at(0x3000).is_none() && set.area_at(0x4000).is_some());
    assert!(!set.covers(range(0x2000..0x5000)) && set.covers(range(0x4000..0x9000)));
}

#[test]
fn other_flags_split_an_area_and_the_old_flags_merge_it() {
    let set = set_of(&[(0x1000, 0x9000)]);
    set.reserve_cut(range(0x2000..0x4000)).unwrap();
    set_flags(&set, 0x2000..0x4000, RO);
    let split = [
        (0x1000, 0x2000, RW),
        (0x2000, 0x4000, RO),
        (0x4000, 0x9000, RW),
    ];
    assert_eq!(listing(&set), split);
    set_flags(&set, 0x2000..0x4000, RW);
    assert_eq!(listing(&set), [(0x1000, 0x9000, RW)]);
}

#[test]
fn free_addresses_around_a_range_end_at_areas() {
    let set = set_of(&[(0x1000, 0x2000), (0x5000, 0x6000)]);
    let around = |at: Range<usize>| {
        let free = set.free_around(range(at));
        free.start..free.end
    };
    assert_eq!(around(0x3000..0x4000), 0x2000..0x5000);
    assert_eq!(around(0x7000..0x8000), 0x6000..usize::MAX);
    assert_eq!(around(0..0x800), 0..0x1000);
    assert_eq!(around(0x1800..0x5800), 0x1800..0x5800);
}

#[test]
#[cfg_attr(miri, ignore = "takes an hour")]
fn memory_reserved_ahead_lasts_however_high_the_tree_grows() {
    let set = set_of(&[(0, 0x1000)]);
    let reservation = set.reserve_ahead(2).unwrap();
    for start in (1..8000).map(|page| page * 0x2000) {
        set.reserve(1).unwrap();
        set.insert(range(start..start + 0x1000), RW, &Offset(0));
    }
    // One more area, and then those that are reserved ahead.
    set.reserve(1).unwrap();
    let depth = set.tree.check();
    let (leaves, inners) = set.tree.free_nodes();
    assert!(depth > 2 && leaves >= 3 && inners >= 3 * (depth + 1));
    set.redeem(reservation);
}

#[test]
fn the_lowest_gap_that_fits_is_found_within_the_limit() {
    let set = set_of(&[(0x2000, 0x3000), (0x5000, 0x6000)]);
    let find = |hint, size, limit, align| set.find_free_area(hint, size, range(limit), align);
    assert_eq!(find(0, 0x1000, 0x1000..0x9000, 0x1000), Some(0x1000));
    assert_eq!(find(0, 0x2000, 0x1000..0x9000, 0x1000), Some(0x3000));
    assert_eq!(find(0x4000, 0x2000, 0x1000..0x9000, 0x1000), Some(0x6000));
    assert_eq!(find(0, 0x4000, 0x1000..0x9000, 0x1000), None);
    assert_eq!(find(0, usize::MAX, 0..usize::MAX, 1), None);
    assert_eq!(find(0, 0x1000, 0..0x10000, 0x800), Some(0));
    assert_eq!(find(1, 0x1000, 0..0x10000, 0x1000), Some(0x1000));
    assert_eq!(find(1, 0x4000, 0..0x10000, 0x4000), Some(0x8000));
    assert_eq!(find(0, 0x1800, 0..0x10000, 0x1000), None);
}

/// An area contains neither its end nor, therefore, the highest address of all.
#[test]
fn no_area_contains_the_highest_address() {
    let set = set_of(&[(usize::MAX - 0xfff, usize::MAX)]);
    assert!(set.area_at(usize::MAX).is_none());
    assert!(set.area_at(usize::MAX - 1).is_some());
    assert!(!set.overlaps(range(usize::MAX..usize::MAX)));
    let shared = SharedMemorySet::<Offset>::new();
    // SAFETY: no other thread uses the set.
    let locked = unsafe { shared.locked() };
    locked.reserve(1).unwrap();
    locked.insert(range(usize::MAX - 0xfff..usize::MAX), RW, &Offset(0));
    assert!(shared.peek(usize::MAX).is_none());
    assert!(shared.peek(usize::MAX - 1).is_some());
}

/// The count of what is kept ahead does not wrap.
#[test]
fn a_reservation_of_another_set_frees_no_more_than_there_is() {
    let (one, other) = (Set::new(), Set::new());
    let ahead = one.reserve_ahead(3).unwrap();
    other.redeem(ahead);
    other.reserve(1).unwrap();
    other.insert(range(0x1000..0x2000), RW, &Offset(0));
    assert_eq!(listing(&other), [(0x1000, 0x2000, RW)]);
}

#[test]
fn the_start_of_an_area_is_free_for_no_bytes_neither() {
    let set = set_of(&[(0, 0x1000), (0x2000, 0x3000)]);
    let limit = range(0..0x10000);
    assert_eq!(set.find_free_area(0, 0, limit, 0x2000), Some(0x4000));
    assert_eq!(set.find_free_area(0, 0, limit, 0x1000), Some(0x1000));
}

#[test]
fn no_bytes_at_the_highest_address_are_free() {
    for set in [set_of(&[]), set_of(&[(0, 0x1000)])] {
        for hint in [usize::MAX - 1, usize::MAX] {
            let found = set.find_free_area(hint, 0, range(0..usize::MAX), 1);
            assert_eq!(found, (hint < usize::MAX).then_some(hint));
        }
    }
}
