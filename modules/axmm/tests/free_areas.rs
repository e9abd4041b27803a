//! `find_free_area` returns the lowest address that `map_alloc` accepts, and no other.

use axmm::{AddrSpace, VirtAddrRange};
use fastrand::Rng;

mod support;

use support::{GIB, KIB4, MapPhysical, RO, RW, TestMachine, alone, phys, virt};

/// The number of pages of an address space.
const PAGES: usize = 64;

/// The number of times that areas change, and of searches after each change.
const CHANGES: usize = 60;
const SEARCHES: usize = 12;

/// Returns whether `map_alloc` accepts the range. Unmaps it again.
fn can_be_mapped<M: TestMachine>(space: &AddrSpace<M>, start: usize, size: usize) -> bool {
    let mapped = space.map_alloc(virt(start), size, RO, false).is_ok();
    if mapped {
        space.unmap(virt(start), size).unwrap();
    }
    mapped
}

/// Compares the result of a random search with what `map_alloc` says of every page.
fn search<M: TestMachine>(space: &AddrSpace<M>, rng: &mut Rng) {
    let base = space.base().as_usize();
    let all = base - 2 * KIB4..base + (PAGES + 2) * KIB4;
    // The address may lie outside the space, and may not be aligned.
    let mut near = || rng.usize(all.clone()) & [usize::MAX, !(KIB4 - 1)][rng.usize(0..2)];
    let (hint, a, b) = (near(), near(), near());
    let (low, high) = match rng.usize(0..4) {
        0 => (0, usize::MAX),
        _ => (a.min(b), a.max(b)),
    };
    let size = rng.usize(0..5) * KIB4 + [0, 0, 0, 1, KIB4 - 1][rng.usize(0..5)];
    let limit = VirtAddrRange::new(virt(low), virt(high));
    let found = space.find_free_area(virt(hint), size, limit);
    let lowest = all.step_by(KIB4).find(|&start| {
        let inside = start >= hint.max(low) && start + size <= high;
        inside && can_be_mapped(space, start, size)
    });
    assert_eq!(
        found.map(usize::from),
        lowest,
        "hint {hint:#x}, size {size:#x}, limit {low:#x}..{high:#x} of {space:?}"
    );
}

/// Maps or unmaps some pages. Mapping fails if some of them are mapped already.
fn change<M: TestMachine>(space: &AddrSpace<M>, rng: &mut Rng) {
    let at = virt(space.base().as_usize() + rng.usize(0..PAGES) * KIB4);
    let size = rng.usize(1..6) * KIB4;
    _ = match rng.usize(0..3) {
        0 => space.unmap(at, size),
        _ => space.map_alloc(at, size, [RO, RW][rng.usize(0..2)], false),
    };
}

fn check<M: TestMachine>(space: &AddrSpace<M>) {
    let mut rng = Rng::with_seed(9);
    for _ in 0..CHANGES {
        change(space, &mut rng);
        (0..SEARCHES).for_each(|_| search(space, &mut rng));
    }
}

/// No area may be mapped in the fixed lower part of the kernel's own address space.
fn an_area_found_in_the_kernels_space_can_be_mapped<M: TestMachine>() {
    let _alone = alone();
    let base = M::base();
    for fixed in [0, 1, 20, PAGES - 1, PAGES] {
        let mut space = AddrSpace::<M>::new_empty(virt(base), PAGES * KIB4).unwrap();
        space.map_alloc(virt(base), 3 * KIB4, RO, false).unwrap();
        space.fix_below(virt(base + fixed * KIB4));
        check(&space);
    }
}

fn an_area_found_in_a_users_space_can_be_mapped<M: TestMachine>() {
    let _alone = alone();
    let space = AddrSpace::<M>::new_empty_user(virt(8 * KIB4), PAGES * KIB4).unwrap();
    check(&space);
}

fn a_free_area_lies_within_its_limit_between_areas<M: TestMachine>() {
    let _alone = alone();
    let aspace = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let base = M::base();
    aspace
        .map_physical(virt(base + KIB4), phys(8 * GIB), KIB4, RW)
        .unwrap();
    aspace
        .map_physical(virt(base + 8 * KIB4), phys(8 * GIB), KIB4, RW)
        .unwrap();
    let limit = VirtAddrRange::new(virt(base), virt(base + 4 * KIB4));
    let find = |hint: usize, pages: usize| {
        let found = aspace.find_free_area(virt(base + hint), pages * KIB4, limit);
        found.map(|found| found.as_usize() - base)
    };
    assert_eq!(find(0, 1), Some(0));
    assert_eq!(find(0, 2), Some(2 * KIB4));
    assert_eq!(find(0, 3), None);
    assert_eq!(find(3 * KIB4, 2), None);
    assert_eq!(find(4 * KIB4, 1), None);
}

/// A hint in the last page of all must not be rounded up to address 0.
fn an_area_is_found_at_the_highest_addresses<M: TestMachine>() {
    let _alone = alone();
    let base = usize::MAX - (PAGES + 1) * KIB4 + 1;
    let space = AddrSpace::<M>::new_empty(virt(base), PAGES * KIB4).unwrap();
    let all = VirtAddrRange::new(virt(0), virt(usize::MAX));
    let last = base + (PAGES - 1) * KIB4;
    let find = |hint: usize, size| space.find_free_area(virt(hint), size, all);
    assert_eq!(find(last, KIB4), Some(virt(last)));
    for hint in [last + 1, last + KIB4, usize::MAX - KIB4 + 1, usize::MAX] {
        assert_eq!(find(hint, KIB4), None, "{hint:#x}");
    }
}

on_every_machine!(
    a_free_area_lies_within_its_limit_between_areas,
    an_area_found_in_the_kernels_space_can_be_mapped,
    an_area_found_in_a_users_space_can_be_mapped,
    an_area_is_found_at_the_highest_addresses,
);
