//! Copies of whole address spaces: what they hold, what they share, and what is left of them when
//! memory runs out.

use std::thread;

use axalloc::fault::fail_from;
use axalloc::{UsageKind, usage};
use axerrno::AxError;
use axmm::{AddrSpace, Grain, VirtAddr};

mod support;

use support::duplicates::{SIZE, areas, byte, user};
use support::raw::RawPage;
use support::threads::{Threads, set_this_hart};
use support::{
    GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TestMachine, X64, alone, phys, virt,
};

/// Maps areas of all kinds, some across the ends of tables, and writes to some of their pages.
/// Returns the addresses of written bytes.
fn fill<M: TestMachine>(space: &AddrSpace<M>) -> Vec<usize> {
    let base = M::base();
    let map = |offset: usize, size, flags, populate, grain| {
        let start = virt(base + offset);
        space
            .map_alloc_with(start, size, flags, populate, grain)
            .unwrap();
    };
    map(0, 40 * KIB4, RW, true, Grain::Page);
    map(MIB2 - 3 * KIB4, 6 * KIB4, RW, false, Grain::Around(4));
    map(GIB - MIB2, 2 * MIB2, RW, true, Grain::Large);
    map(2 * GIB, GIB, RW, false, Grain::Page);
    map(3 * GIB, 3 * KIB4, RW, true, Grain::Page);
    let linear = virt(base + 3 * GIB + MIB2);
    space
        .map_physical(linear, phys(8 * GIB), 2 * MIB2, RW)
        .unwrap();
    let offsets = [
        0,
        39 * KIB4 + 7,
        MIB2 - KIB4,
        GIB - MIB2 + 5,
        GIB + KIB4,
        2 * GIB + 77 * KIB4,
        3 * GIB,
        3 * GIB + KIB4,
    ];
    let written = offsets.map(|offset| base + offset);
    for (number, addr) in written.into_iter().enumerate() {
        space.write(virt(addr), &[number as u8 + 1]).unwrap();
    }
    // Kept, but not to be accessed.
    space.protect(virt(base + 3 * GIB), KIB4, NONE).unwrap();
    space
        .protect(virt(base + 3 * GIB + KIB4), KIB4, RX)
        .unwrap();
    space.protect(virt(base + 10 * KIB4), 5 * KIB4, RO).unwrap();
    written.to_vec()
}

fn pages<M: TestMachine>(space: &AddrSpace<M>) -> Vec<RawPage> {
    M::walk(space).unwrap().pages
}

fn a_copy_has_the_same_areas_pages_and_bytes<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>();
    let written = fill(&space);
    let copy = space.clone_eager().unwrap();
    assert_eq!(areas(&copy), areas(&space));
    let linear = M::base() + 3 * GIB + MIB2;
    let (originals, copies) = (pages(&space), pages(&copy));
    assert_eq!(originals.len(), copies.len());
    for (original, copied) in originals.into_iter().zip(copies) {
        assert_eq!(
            RawPage {
                paddr: copied.paddr,
                ..original
            },
            copied
        );
        let is_linear = original.vaddr >= linear;
        assert_eq!(original.paddr == copied.paddr, is_linear, "{original:?}");
    }
    for addr in &written {
        assert_eq!(byte(&copy, *addr), byte(&space, *addr), "{addr:#x}");
    }
    // What may not be accessed is there all the same.
    let hidden = virt(M::base() + 3 * GIB);
    for space in [&space, &copy] {
        space.protect(hidden, KIB4, RO).unwrap();
        assert_eq!(byte(space, hidden.as_usize()), Some(7));
    }
    drop((space, copy));
    assert_eq!(usage(), before);
}

fn a_copy_and_its_original_change_apart<M: TestMachine>() {
    let _alone = alone();
    let space = user::<M>();
    let addr = fill(&space)[0];
    let lazy = M::base() + 2 * GIB;
    let copy = space.clone_eager().unwrap();
    space.write(virt(addr), &[100]).unwrap();
    copy.write(virt(addr + 1), &[200]).unwrap();
    assert_eq!(
        [addr, addr + 1].map(|addr| byte(&space, addr)),
        [Some(100), Some(0)]
    );
    assert_eq!(
        [addr, addr + 1].map(|addr| byte(&copy, addr)),
        [Some(1), Some(200)]
    );
    // A page that had no frame.
    space.write(virt(lazy), &[1]).unwrap();
    assert_eq!(byte(&copy, lazy), Some(0));
    space.clear().unwrap();
    assert_eq!(byte(&copy, addr), Some(1));
    let again = copy.clone_eager().unwrap();
    drop(copy);
    assert_eq!(
        [addr, addr + 1].map(|addr| byte(&again, addr)),
        [Some(1), Some(200)]
    );
}

fn without_memory_nothing_is_left_of_a_copy<M: TestMachine>() {
    let _alone = alone();
    let space = user::<M>();
    fill(&space);
    let before = (usage(), areas(&space), pages(&space));
    let mut failed = 0;
    for count in 1.. {
        let armed = fail_from(count);
        let result = space.clone_eager();
        let has_fired = armed.has_fired();
        if !has_fired {
            assert_eq!(areas(&result.unwrap()), before.1);
            break;
        }
        if let Err(error) = result {
            assert_eq!(error, AxError::NoMemory, "{count}");
            failed += 1;
        }
        assert_eq!((usage(), areas(&space), pages(&space)), before, "{count}");
    }
    assert!(failed >= 15, "only {failed} allocations failed");
}

fn a_large_page_is_copied_into_small_ones_if_there_is_no_block<M: TestMachine>() {
    let _alone = alone();
    let space = user::<M>();
    space
        .map_alloc_with(virt(M::base()), MIB2, RW, true, Grain::Large)
        .unwrap();
    assert_eq!(pages(&space)[0].size, MIB2);
    space.write(virt(M::base() + MIB2 - 1), &[9]).unwrap();
    // Single frames are left, and no block.
    let mut taken = Vec::new();
    while let Ok(block) = axalloc::alloc_frames(512, MIB2, UsageKind::Global) {
        taken.push(block);
    }
    let spare = taken.pop().unwrap().split_at(1).ok().unwrap();
    let more = taken.pop().unwrap().split_at(100).ok().unwrap();
    drop((spare.1, more.1));
    let copy = space.clone_eager().unwrap();
    assert_eq!(pages(&copy).len(), 512);
    assert_eq!(byte(&copy, M::base() + MIB2 - 1), Some(9));
}

/// Other harts fault pages in and fill them meanwhile. A page is in a copy as it was before one
/// of these writes, or after it.
fn other_harts_write_while_a_copy_is_made<R: TestMachine>() {
    const PAGES: usize = 24;
    const ROUNDS: usize = if cfg!(miri) { 50 } else { 5000 };
    let _alone = alone();
    // The pages lie in two shards, or in the only one.
    for (size, first) in [(SIZE, GIB - PAGES / 2 * KIB4), (MIB2, 0)] {
        let page = |number: usize| virt(R::base() + first + number * KIB4);
        let space = AddrSpace::<Threads<R>>::new_empty_user(virt(R::base()), size).unwrap();
        space.map_alloc(page(0), PAGES * KIB4, RW, false).unwrap();
        copy_beside_writers(&space, PAGES, ROUNDS, page);
    }
}

fn copy_beside_writers<R: TestMachine>(
    space: &AddrSpace<Threads<R>>,
    pages: usize,
    rounds: usize,
    page: impl Fn(usize) -> VirtAddr + Copy + Send,
) {
    thread::scope(|scope| {
        let writers = [1, 2].map(|hart| {
            scope.spawn(move || {
                set_this_hart(hart);
                for round in 0..rounds {
                    // Fails while another hart has made the page read-only.
                    let own = (2 * round + hart - 1) % pages;
                    _ = space.write(page(own), &[round as u8; KIB4]);
                    if round % 50 == 0 {
                        space.protect(page(3), 2 * KIB4, RO).unwrap();
                        space.protect(page(3), 2 * KIB4, RW).unwrap();
                    }
                }
            })
        });
        set_this_hart(0);
        while !writers.iter().all(|writer| writer.is_finished()) {
            let copy = space.clone_eager().unwrap();
            for number in 0..pages {
                let mut bytes = [0; KIB4];
                copy.read(page(number), &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {number}");
            }
        }
    });
}

on_every_machine!(
    a_copy_has_the_same_areas_pages_and_bytes,
    a_copy_and_its_original_change_apart,
    without_memory_nothing_is_left_of_a_copy,
    a_large_page_is_copied_into_small_ones_if_there_is_no_block,
    other_harts_write_while_a_copy_is_made,
);

#[test]
fn a_copy_sees_what_the_kernel_maps_later() {
    const KERNEL: usize = 0xffff_c000_0000_0000;
    let _alone = alone();
    let kernel = AddrSpace::<X64>::new_empty(virt(KERNEL), SIZE).unwrap();
    kernel.share().unwrap();
    assert_eq!(kernel.clone_eager().err(), Some(AxError::InvalidInput));
    let space = AddrSpace::new_user_with(virt(MIB2), SIZE, &kernel).unwrap();
    let copy = space.clone_eager().unwrap();
    assert!(copy.sees_all_of(kernel.page_table_root()));
    let later = virt(KERNEL + GIB);
    kernel.map_alloc(later, KIB4, RW, true).unwrap();
    let frame = |space: &AddrSpace<X64>| space.page_table().query(later).map(|page| page.paddr);
    assert!(frame(&copy).is_some());
    assert_eq!(frame(&copy), frame(&kernel));
}
