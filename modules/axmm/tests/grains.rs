//! Page faults that bring more than the page, and large pages of fresh frames: they
//! are used where they can be, split without a copy, and go back whole.

#[macro_use]
mod support;

use axmm::{AddrSpace, Grain};
use support::raw::RawPage;
use support::*;

/// Large pages' worth of addresses, of which none is at the edge of a table.
const SIZE: usize = 4 * MIB2;

fn space<M: TestMachine>(start: usize, size: usize, grain: Grain) -> AddrSpace<M> {
    let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let start = virt(M::base() + start);
    space.map_alloc_with(start, size, RW, false, grain).unwrap();
    space
}

fn pages<M: TestMachine>(space: &AddrSpace<M>) -> Vec<RawPage> {
    M::walk(space).unwrap().pages
}

fn touch<M: TestMachine>(space: &mut AddrSpace<M>, offset: usize) {
    assert!(space.handle_page_fault(virt(M::base() + offset), WRITE));
}

/// Where pages lie, and how large they are.
fn places<M: TestMachine>(space: &AddrSpace<M>) -> Vec<(usize, usize)> {
    let place = |page: &RawPage| (page.vaddr - M::base(), page.size);
    pages(space).iter().map(place).collect()
}

fn a_large_page_where_there_is_room<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(MIB2 - KIB4, SIZE, Grain::Large);
    touch(&mut space, MIB2 + 5 * KIB4);
    assert_eq!(places(&space), [(MIB2, MIB2)]);
    touch(&mut space, MIB2 - KIB4);
    touch(&mut space, 4 * MIB2 + KIB4);
    let small = [(MIB2 - KIB4, KIB4), (MIB2, MIB2), (4 * MIB2 + KIB4, KIB4)];
    assert_eq!(places(&space), small, "the area's ends are not large");
    assert!(
        words(pages(&space)[1].paddr + MIB2 - KIB4)
            .iter()
            .all(|word| *word == 0)
    );
    drop(space);
    assert_eq!(frames().0, 0);
}

fn a_small_page_where_there_is_none<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, SIZE, Grain::Large);
    // No two frames in a row: a block for a large page is out of the question.
    let mut taken: Vec<_> =
        std::iter::from_fn(|| axalloc::alloc_frame(axalloc::UsageKind::Object).ok()).collect();
    taken.sort_by_key(|frame| frame.start());
    let mut odd = false;
    taken.retain(|_| {
        odd = !odd;
        odd
    });
    touch(&mut space, MIB2 + KIB4);
    assert_eq!(places(&space), [(MIB2 + KIB4, KIB4)]);
    drop(taken);
    touch(&mut space, MIB2);
    assert_eq!(
        places(&space),
        [(MIB2, KIB4), (MIB2 + KIB4, KIB4)],
        "some of it is there"
    );
    touch(&mut space, 0);
    assert_eq!(places(&space)[0], (0, MIB2));
}

fn a_large_page_is_split_with_the_frames_it_has<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, SIZE, Grain::Large);
    for offset in [0, MIB2] {
        touch(&mut space, offset);
    }
    let [first, second] = pages(&space)[..] else {
        panic!("not two pages")
    };
    for (index, word) in (0..MIB2 / KIB4).zip(1..) {
        words(second.paddr + index * KIB4)[0] = word;
    }
    let before = frames().0;
    space
        .unmap(virt(second.vaddr + 7 * KIB4), 2 * KIB4)
        .unwrap();
    assert_eq!(frames().0, before - 2);
    space.protect(virt(second.vaddr), KIB4, RO).unwrap();
    let pages = pages(&space);
    assert_eq!(pages.len(), 1 + MIB2 / KIB4 - 2);
    assert_eq!(pages[0], first, "the other is as it was");
    for page in &pages[1..] {
        let index = (page.vaddr - second.vaddr) / KIB4;
        assert_eq!(page.paddr, second.paddr + index * KIB4);
        assert_eq!(words(page.paddr)[0], index as u64 + 1);
        assert_eq!(page.rights.write, index != 0);
    }
    space.unmap(virt(M::base()), SIZE).unwrap();
    assert_eq!(frames(), (0, 1), "each frame once, and the root stays");
}

fn no_rights_and_back<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, SIZE, Grain::Large);
    touch(&mut space, 0);
    let large = pages(&space)[0];
    space.protect(virt(large.vaddr), MIB2, NONE).unwrap();
    assert!(!space.handle_page_fault(virt(large.vaddr), RO));
    space.protect(virt(large.vaddr), MIB2, RW).unwrap();
    assert_eq!(pages(&space)[5].paddr, large.paddr + 5 * KIB4);
    drop(space);
    assert_eq!(frames().0, 0);
}

fn populating_takes_large_pages<M: TestMachine>() {
    let _alone = alone();
    let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let start = virt(M::base() + MIB2 - KIB4);
    space
        .map_alloc_with(start, MIB2 + 2 * KIB4, RW, true, Grain::Large)
        .unwrap();
    let expected = [(MIB2 - KIB4, KIB4), (MIB2, MIB2), (2 * MIB2, KIB4)];
    assert_eq!(places(&space), expected);
    drop(space);
    // More than there is, of which much is there in large pages.
    let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let all = space.map_alloc_with(virt(M::base()), RAM.len(), RW, true, Grain::Large);
    assert_eq!(all, Err(axerrno::AxError::NoMemory));
    assert_eq!(frames(), (0, 1));
    assert_eq!(pages(&space), []);
}

fn the_run_around_it<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(3 * KIB4, 61 * KIB4, Grain::Around(16));
    touch(&mut space, 20 * KIB4 + 5);
    let run = |pages: std::ops::Range<usize>| pages.map(|page| (page * KIB4, KIB4));
    assert!(places(&space).into_iter().eq(run(16..32)));
    let before = pages(&space);
    touch(&mut space, 5 * KIB4);
    assert!(
        places(&space).into_iter().eq(run(3..32)),
        "not before the area"
    );
    assert!(
        before.iter().all(|page| pages(&space).contains(page)),
        "what was there stays"
    );
    space.unmap(virt(M::base() + 40 * KIB4), KIB4).unwrap();
    touch(&mut space, 47 * KIB4);
    assert!(places(&space).into_iter().eq(run(3..32).chain(run(41..48))));
    drop(space);
    assert_eq!(frames().0, 0);
}

fn the_page_alone_where_there_is_no_more<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, 64 * KIB4, Grain::Around(16));
    touch(&mut space, 63 * KIB4);
    let mut taken: Vec<_> =
        std::iter::from_fn(|| axalloc::alloc_frame(axalloc::UsageKind::Object).ok()).collect();
    assert!(!space.handle_page_fault(virt(M::base()), RO), "no frame");
    taken.pop();
    touch(&mut space, 4 * KIB4);
    assert_eq!(places(&space)[0], (4 * KIB4, KIB4));
    assert_eq!(places(&space).len(), 17);
}

/// What is free, in a row: no more than `count` frames.
fn all_but(count: usize) -> Vec<axalloc::Frames> {
    let run = axalloc::alloc_frames(count, count * KIB4, axalloc::UsageKind::Object).unwrap();
    let taken =
        std::iter::from_fn(|| axalloc::alloc_frame(axalloc::UsageKind::Object).ok()).collect();
    drop(run);
    taken
}

/// A fault for which a page and its table would do is resolved while they can be had.
fn the_table_comes_first_where_frames_are_few<M: TestMachine>() {
    for (grain, free) in [
        (Grain::Page, 2),
        (Grain::Around(16), 2),
        (Grain::Around(16), 16),
        (Grain::Around(512), 512),
        (Grain::Large, 2),
        (Grain::Large, 256),
        (Grain::Large, 512),
    ] {
        let _alone = alone();
        let space = space::<M>(2 * MIB2, SIZE, grain);
        // Only the lowest table is missing.
        let beside = virt(M::base());
        space.map_alloc(beside, KIB4, RW, true).unwrap();
        let taken = all_but(free);
        let resolved = space.handle_page_fault(virt(M::base() + 2 * MIB2), WRITE);
        drop(taken);
        assert!(resolved, "{grain:?} with {free} frames free");
    }
}

fn without_rights_no_page_is_large<M: TestMachine>() {
    let _alone = alone();
    for populate in [true, false] {
        let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
        let start = virt(M::base());
        space
            .map_alloc_with(start, MIB2, NONE, populate, Grain::Large)
            .unwrap();
        assert!(space.handle_page_fault(start, NONE));
        assert_eq!(
            places(&space)[0],
            (0, KIB4),
            "in a table of the lowest level"
        );
        drop(space);
        assert_eq!(frames().0, 0);
    }
}

fn a_page_that_is_there_takes_no_memory<M: TestMachine>() {
    let _alone = alone();
    for grain in [Grain::Page, Grain::Around(16), Grain::Large] {
        let mut space = space::<M>(0, SIZE, grain);
        touch(&mut space, 5 * KIB4);
        let armed = axalloc::fault::fail_from(1);
        touch(&mut space, 5 * KIB4);
        assert!(!armed.has_fired(), "{grain:?}");
    }
}

fn what_no_grain_can_be<M: TestMachine>() {
    let _alone = alone();
    let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    for pages in [0, 3, 1024, u16::MAX] {
        let grain = Grain::Around(pages);
        let refused = space.map_alloc_with(virt(M::base()), KIB4, RW, false, grain);
        assert_eq!(
            refused,
            Err(axerrno::AxError::InvalidInput),
            "{pages} pages"
        );
    }
    assert_eq!(space.areas().count(), 0);
}

on_every_machine!(
    a_large_page_where_there_is_room,
    a_small_page_where_there_is_none,
    a_large_page_is_split_with_the_frames_it_has,
    no_rights_and_back,
    populating_takes_large_pages,
    the_run_around_it,
    the_page_alone_where_there_is_no_more,
    the_table_comes_first_where_frames_are_few,
    without_rights_no_page_is_large,
    a_page_that_is_there_takes_no_memory,
    what_no_grain_can_be,
);
