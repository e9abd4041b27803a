//! Page faults that map more than one page, and large pages with allocated frames. Large pages
//! are used where they fit, split without a copy, and freed completely.

#[macro_use]
mod support;

use axmm::{AddrSpace, Grain};
use support::raw::RawPage;
use support::*;

/// The size of the area. Four large pages fit, and no table ends between them.
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

/// Writes to the page at an offset in bytes.
fn touch<M: TestMachine>(space: &mut AddrSpace<M>, offset: usize) {
    assert!(space.handle_page_fault(virt(M::base() + offset), WRITE));
}

/// Returns the offset and the size in bytes of each page.
fn places<M: TestMachine>(space: &AddrSpace<M>) -> Vec<(usize, usize)> {
    let place = |page: &RawPage| (page.vaddr - M::base(), page.size);
    pages(space).iter().map(place).collect()
}

fn a_fault_maps_a_large_page_where_one_fits<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(MIB2 - KIB4, SIZE, Grain::Large);
    touch(&mut space, MIB2 + 5 * KIB4);
    assert_eq!(places(&space), [(MIB2, MIB2)]);
    touch(&mut space, MIB2 - KIB4);
    touch(&mut space, 4 * MIB2 + KIB4);
    let small = [(MIB2 - KIB4, KIB4), (MIB2, MIB2), (4 * MIB2 + KIB4, KIB4)];
    assert_eq!(places(&space), small, "small pages at the ends of the area");
    assert!(
        words(pages(&space)[1].paddr + MIB2 - KIB4)
            .iter()
            .all(|word| *word == 0)
    );
    drop(space);
    assert_eq!(frames().0, 0);
}

fn a_fault_maps_a_small_page_where_no_large_one_fits<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, SIZE, Grain::Large);
    // No two free frames are contiguous, so there is no frame run for a large page.
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
        "a part of the large page is mapped already"
    );
    touch(&mut space, 0);
    assert_eq!(places(&space)[0], (0, MIB2));
}

fn a_split_large_page_keeps_its_frames<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, SIZE, Grain::Large);
    for offset in [0, MIB2] {
        touch(&mut space, offset);
    }
    let [first, second] = pages(&space)[..] else {
        panic!("two large pages are mapped")
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
    assert_eq!(pages[0], first, "the other large page is unchanged");
    for page in &pages[1..] {
        let index = (page.vaddr - second.vaddr) / KIB4;
        assert_eq!(page.paddr, second.paddr + index * KIB4);
        assert_eq!(words(page.paddr)[0], index as u64 + 1);
        assert_eq!(page.rights.write, index != 0);
    }
    space.unmap(virt(M::base()), SIZE).unwrap();
    assert_eq!(
        frames(),
        (0, 1),
        "each frame is freed once, and the root stays"
    );
}

fn a_large_page_keeps_its_frames_without_rights<M: TestMachine>() {
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

fn populate_uses_large_pages<M: TestMachine>() {
    let _alone = alone();
    let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let start = virt(M::base() + MIB2 - KIB4);
    space
        .map_alloc_with(start, MIB2 + 2 * KIB4, RW, true, Grain::Large)
        .unwrap();
    let expected = [(MIB2 - KIB4, KIB4), (MIB2, MIB2), (2 * MIB2, KIB4)];
    assert_eq!(places(&space), expected);
    drop(space);
    // All memory is more than is free, though most of it is free in large pages.
    let space = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let all = space.map_alloc_with(virt(M::base()), RAM.len(), RW, true, Grain::Large);
    assert_eq!(all, Err(axerrno::AxError::NoMemory));
    assert_eq!(frames(), (0, 1));
    assert_eq!(pages(&space), []);
}

fn fault_around_maps_the_aligned_pages_around<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(3 * KIB4, 61 * KIB4, Grain::Around(16));
    touch(&mut space, 20 * KIB4 + 5);
    let run = |pages: std::ops::Range<usize>| pages.map(|page| (page * KIB4, KIB4));
    assert!(places(&space).into_iter().eq(run(16..32)));
    let before = pages(&space);
    touch(&mut space, 5 * KIB4);
    assert!(
        places(&space).into_iter().eq(run(3..32)),
        "no page below the area is mapped"
    );
    assert!(
        before.iter().all(|page| pages(&space).contains(page)),
        "mapped pages stay"
    );
    space.unmap(virt(M::base() + 40 * KIB4), KIB4).unwrap();
    touch(&mut space, 47 * KIB4);
    assert!(places(&space).into_iter().eq(run(3..32).chain(run(41..48))));
    drop(space);
    assert_eq!(frames().0, 0);
}

fn fault_around_maps_one_page_if_one_frame_is_free<M: TestMachine>() {
    let _alone = alone();
    let mut space = space::<M>(0, 64 * KIB4, Grain::Around(16));
    touch(&mut space, 63 * KIB4);
    let mut taken: Vec<_> =
        std::iter::from_fn(|| axalloc::alloc_frame(axalloc::UsageKind::Object).ok()).collect();
    assert!(
        !space.handle_page_fault(virt(M::base()), RO),
        "no frame is free"
    );
    taken.pop();
    touch(&mut space, 4 * KIB4);
    assert_eq!(places(&space)[0], (4 * KIB4, KIB4));
    assert_eq!(places(&space).len(), 17);
}

/// Allocates all frames but one run of `count` frames.
fn all_but(count: usize) -> Vec<axalloc::Frames> {
    let run = axalloc::alloc_frames(count, count * KIB4, axalloc::UsageKind::Object).unwrap();
    let taken =
        std::iter::from_fn(|| axalloc::alloc_frame(axalloc::UsageKind::Object).ok()).collect();
    drop(run);
    taken
}

/// A fault succeeds if there is memory for one page and its table, whatever the grain.
fn a_fault_keeps_frames_for_the_tables<M: TestMachine>() {
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
        let is_resolved = space.handle_page_fault(virt(M::base() + 2 * MIB2), WRITE);
        drop(taken);
        assert!(is_resolved, "{grain:?} with {free} frames free");
    }
}

fn pages_without_rights_are_small<M: TestMachine>() {
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

fn a_fault_on_a_mapped_page_allocates_nothing<M: TestMachine>() {
    let _alone = alone();
    for grain in [Grain::Page, Grain::Around(16), Grain::Large] {
        let mut space = space::<M>(0, SIZE, grain);
        touch(&mut space, 5 * KIB4);
        let armed = axalloc::fault::fail_from(1);
        touch(&mut space, 5 * KIB4);
        assert!(!armed.has_fired(), "{grain:?}");
    }
}

fn invalid_grains_are_refused<M: TestMachine>() {
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
    a_fault_maps_a_large_page_where_one_fits,
    a_fault_maps_a_small_page_where_no_large_one_fits,
    a_split_large_page_keeps_its_frames,
    a_large_page_keeps_its_frames_without_rights,
    populate_uses_large_pages,
    fault_around_maps_the_aligned_pages_around,
    fault_around_maps_one_page_if_one_frame_is_free,
    a_fault_keeps_frames_for_the_tables,
    pages_without_rights_are_small,
    a_fault_on_a_mapped_page_allocates_nothing,
    invalid_grains_are_refused,
);
