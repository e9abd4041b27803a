//! `find_free_area` returns the lowest address that `map_alloc` accepts, and no other.

use axmm::{AddrSpace, VirtAddrRange};
use fastrand::Rng;

mod support;

use support::{KIB4, RO, RW, TestMachine, alone, virt};

/// The pages of an address space.
const PAGES: usize = 64;

/// How often areas change, and how often each state is asked.
const CHANGES: usize = 60;
const QUESTIONS: usize = 12;

/// Whether `map_alloc` accepts the range. It is unmapped again.
fn can_be_mapped<M: TestMachine>(space: &AddrSpace<M>, start: usize, size: usize) -> bool {
    let mapped = space.map_alloc(virt(start), size, RO, false).is_ok();
    if mapped {
        space.unmap(virt(start), size).unwrap();
    }
    mapped
}

/// Compares one answer with what `map_alloc` says of every page.
fn ask<M: TestMachine>(space: &AddrSpace<M>, rng: &mut Rng) {
    let base = space.base().as_usize();
    let all = base - 2 * KIB4..base + (PAGES + 2) * KIB4;
    // An address that may lie outside, and may not be a page's.
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

/// Maps or unmaps some pages; what cannot be mapped is not.
fn change<M: TestMachine>(space: &AddrSpace<M>, rng: &mut Rng) {
    let at = virt(space.base().as_usize() + rng.usize(0..PAGES) * KIB4);
    let size = rng.usize(1..6) * KIB4;
    let _ = match rng.usize(0..3) {
        0 => space.unmap(at, size),
        _ => space.map_alloc(at, size, [RO, RW][rng.usize(0..2)], false),
    };
}

fn check<M: TestMachine>(space: &AddrSpace<M>) {
    let mut rng = Rng::with_seed(9);
    for _ in 0..CHANGES {
        change(space, &mut rng);
        (0..QUESTIONS).for_each(|_| ask(space, &mut rng));
    }
}

/// The lower part of the kernel's own address space is fixed: nothing is mapped there.
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

/// No address above the last page is rounded up to 0.
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
    an_area_found_in_the_kernels_space_can_be_mapped,
    an_area_found_in_a_users_space_can_be_mapped,
    an_area_is_found_at_the_highest_addresses,
);
