//! `unmap_each` unmaps many ranges in one operation, with one flush.

use std::ops::Range;
use std::rc::Rc;

use axerrno::AxError;
use axmm::{AddrSpace, VirtAddr};

mod support;

use support::{KIB4, MIB2, RW, TestMachine, Tlb, alone, frames, virt};

/// The number of pages of a range: first guard pages without rights, then populated ones, as a
/// thread's stack has them. Some ranges cross the ends of tables.
const GUARD: usize = 100;
const FULL: usize = 5;
const SIZE: usize = (GUARD + FULL) * KIB4;
const COUNT: usize = 24;

fn range<M: TestMachine>(index: usize) -> Range<VirtAddr> {
    let start = M::base() + index * SIZE;
    virt(start)..virt(start + SIZE)
}

fn space<M: TestMachine>() -> AddrSpace<M> {
    let space = AddrSpace::<M>::new_empty(virt(M::base()), 32 * MIB2).unwrap();
    for start in (0..COUNT).map(|index| range::<M>(index).start) {
        let none = axmm::MappingFlags::empty();
        space.map_alloc(start, GUARD * KIB4, none, false).unwrap();
        let full = start + GUARD * KIB4;
        space.map_alloc(full, FULL * KIB4, RW, true).unwrap();
    }
    space
}

/// Returns the numbers of the ranges that are mapped.
fn mapped<M: TestMachine>(space: &AddrSpace<M>) -> Vec<usize> {
    let is_mapped = |index: &usize| space.area_at(range::<M>(*index).start).is_some();
    (0..COUNT).filter(is_mapped).collect()
}

fn all_ranges_are_unmapped_with_one_flush<M: TestMachine>() {
    let _alone = alone();
    let empty = frames();
    let space = space::<M>();
    let (pages, _) = frames();
    // Two in three ranges are unmapped, and all of the last ones, so that tables become empty.
    let is_unmapped = |index: &usize| !index.is_multiple_of(3) || *index > 12;
    let stay: Vec<_> = (0..COUNT).filter(|index| !is_unmapped(index)).collect();
    Tlb::fill(&Rc::new(M::walk(&space).unwrap()));
    let ranges = (0..COUNT).filter(is_unmapped).map(range::<M>);
    // SAFETY: the test holds no references to the pages, and does not access them.
    unsafe { space.unmap_each(ranges.clone()) }.unwrap();
    let flushes = Tlb::check(&M::walk(&space).unwrap(), false).unwrap();
    assert_eq!(flushes.len(), 1, "{flushes:x?}");
    assert_eq!(mapped(&space), stay);
    assert_eq!(frames().0, pages - ranges.count() * FULL);
    for index in &stay {
        let full = range::<M>(*index).start + GUARD * KIB4;
        assert!((0..FULL).all(|page| space.query(full + page * KIB4).is_some()));
    }
    // SAFETY: the test holds no references to the pages, and does not access them.
    unsafe { space.unmap_each(stay.into_iter().map(range::<M>)) }.unwrap();
    assert_eq!(frames(), (empty.0, empty.1 + 1), "only the root is left");
}

fn a_wrong_range_unmaps_nothing<M: TestMachine>() {
    let _alone = alone();
    let space = space::<M>();
    let before = frames();
    let part = range::<M>(4).start..range::<M>(4).end - KIB4;
    let outside = space.end()..space.end() + KIB4;
    let wrong = [
        vec![range::<M>(1), range::<M>(0)],
        vec![range::<M>(1), range::<M>(1)],
        vec![range::<M>(1), part],
        vec![range::<M>(1), outside],
        vec![range::<M>(1), range::<M>(2).start..range::<M>(2).start],
        vec![range::<M>(1).end..range::<M>(1).start],
    ];
    for ranges in wrong {
        // SAFETY: the test holds no references to the pages, and does not access them.
        let result = unsafe { space.unmap_each(ranges.iter().cloned()) };
        assert_eq!(result, Err(AxError::InvalidInput), "{ranges:x?}");
        assert_eq!(frames(), before);
        assert_eq!(mapped(&space).len(), COUNT);
    }
    // SAFETY: no range is passed, so no page is unmapped.
    unsafe { space.unmap_each(std::iter::empty()) }.unwrap();
    assert_eq!(mapped(&space).len(), COUNT);
}

on_every_machine!(
    all_ranges_are_unmapped_with_one_flush,
    a_wrong_range_unmaps_nothing,
);
