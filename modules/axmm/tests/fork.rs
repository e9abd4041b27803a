//! Forked address spaces: what both sides see, what they share, and what is left when memory runs
//! out.

use std::alloc::System;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use axalloc::fault::{FailingHeap, fail_from};
use axalloc::{UsageKind, usage};
use axerrno::AxError;
use axmm::{AddrSpace, Fault, Grain, MappingFlags, VirtAddr};

mod support;

use support::duplicates::{SIZE, areas, byte, user};
use support::threads::{
    Entries, Threads, at_next_copy, flushes_of, leave, local_flushes_of, set_this_hart,
    spawn_until_it_waits,
};
use support::{
    GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TestMachine, WRITE, X64, alone, phys, virt,
};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

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
    // A linear area and a large page, whose tables of 1 GiB and of 2 MiB are not shared.
    let linear = virt(base + 3 * GIB + MIB2);
    space
        .map_physical(linear, phys(8 * GIB), MIB2 / 2, RW)
        .unwrap();
    map(3 * GIB + MIB2 + MIB2 / 2, 5 * KIB4, RW, true, Grain::Page);
    map(3 * GIB + 2 * MIB2, MIB2, RW, true, Grain::Large);
    let offsets = [
        0,
        39 * KIB4 + 7,
        MIB2 - KIB4,
        GIB - MIB2 + 5,
        GIB + KIB4,
        2 * GIB + 77 * KIB4,
        3 * GIB,
        3 * GIB + KIB4,
        3 * GIB + MIB2 + MIB2 / 2,
        3 * GIB + 2 * MIB2 + 100 * KIB4,
    ];
    let written = offsets.map(|offset| base + offset);
    for (number, addr) in written.into_iter().enumerate() {
        space.write(virt(addr), &[number as u8 + 1]).unwrap();
    }
    space.protect(virt(base + 3 * GIB), KIB4, NONE).unwrap();
    space
        .protect(virt(base + 3 * GIB + KIB4), KIB4, RX)
        .unwrap();
    space.protect(virt(base + 10 * KIB4), 5 * KIB4, RO).unwrap();
    written.to_vec()
}

fn bytes<M: TestMachine>(space: &AddrSpace<M>, addrs: &[usize]) -> Vec<Option<u8>> {
    addrs.iter().map(|addr| byte(space, *addr)).collect()
}

fn tables() -> usize {
    usage().of(UsageKind::PageTable)
}

fn a_child_has_the_same_areas_and_bytes<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>();
    let written = fill(&space);
    let frames = usage().of(UsageKind::VirtMem);
    let child = space.fork().unwrap();
    assert_eq!(areas(&child), areas(&space));
    assert_eq!(bytes(&child, &written), bytes(&space, &written));
    assert_eq!(usage().of(UsageKind::VirtMem), frames, "no page is copied");
    // What may not be accessed is there all the same.
    let hidden = virt(M::base() + 3 * GIB);
    for space in [&space, &child] {
        space.protect(hidden, KIB4, RO).unwrap();
        assert_eq!(byte(space, hidden.as_usize()), Some(7));
    }
    let shared = [&space, &child].map(|space| M::walk(space).unwrap().shared);
    assert_eq!(shared[0], shared[1]);
    assert!(
        shared[0].len() >= 3,
        "only {} tables are shared",
        shared[0].len()
    );
    drop((space, child));
    assert_eq!(usage(), before);
}

fn each_side_sees_its_own_writes_alone<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>();
    let written = fill(&space);
    let child = space.fork().unwrap();
    let kept = bytes(&space, &written);
    let writable = |space: &AddrSpace<M>, addr: &usize| {
        space.can_access_range(virt(*addr), 1, MappingFlags::WRITE)
    };
    for addr in written.iter().filter(|addr| writable(&space, addr)) {
        space.write(virt(*addr), &[100]).unwrap();
    }
    assert_eq!(bytes(&child, &written), kept);
    for addr in written.iter().filter(|addr| writable(&child, addr)) {
        child.write(virt(*addr + 1), &[200]).unwrap();
        assert_eq!(byte(&space, *addr), Some(100));
        assert_eq!(byte(&space, *addr + 1), Some(0));
    }
    assert_eq!(bytes(&child, &written), kept);
    // A page that had no frame.
    let lazy = M::base() + 2 * GIB;
    space.write(virt(lazy), &[1]).unwrap();
    assert_eq!(byte(&child, lazy), Some(0));
    drop(space);
    assert_eq!(bytes(&child, &written), kept);
    let grandchild = child.fork().unwrap();
    drop(child);
    assert_eq!(bytes(&grandchild, &written), kept);
    grandchild.write(virt(written[0]), &[3]).unwrap();
    assert_eq!(byte(&grandchild, written[0] + 1), Some(200));
    drop(grandchild);
    assert_eq!(usage(), before);
}

fn a_page_that_is_no_longer_shared_is_written_in_place<M: TestMachine>() {
    let _alone = alone();
    let space = user::<M>();
    space.map_alloc(virt(M::base()), MIB2, RW, true).unwrap();
    let frame = |space: &AddrSpace<M>| space.page_table().query(virt(M::base())).unwrap().paddr;
    let original = frame(&space);
    let child = space.fork().unwrap();
    child.write(virt(M::base()), &[1]).unwrap();
    assert_ne!(frame(&child), original, "the child has a copy");
    space.write(virt(M::base()), &[2]).unwrap();
    assert_eq!(frame(&space), original, "the parent keeps the page");
    drop(space);
    let before = usage();
    let written = (1..512).map(|page| virt(M::base() + page * KIB4));
    for page in written {
        child.write(page, &[3]).unwrap();
    }
    assert_eq!(usage(), before, "nothing is copied for the last owner");
}

fn a_whole_gigabyte_is_shared_by_one_table<M: TestMachine>() {
    let _alone = alone();
    let space = user::<M>();
    space
        .map_alloc(virt(M::base() + GIB), GIB, RW, false)
        .unwrap();
    // A page of each third table.
    let pages = (0..512)
        .step_by(3)
        .map(|block| M::base() + GIB + block * MIB2);
    let pages: Vec<usize> = pages.collect();
    for page in &pages {
        space.write(virt(*page), &[7]).unwrap();
    }
    let before = tables();
    let child = space.fork().unwrap();
    let made = tables() - before;
    assert!(made <= 2, "{made} tables of the child's own");
    // The first access takes a copy of the table of 1 GiB, and one of the table of 2 MiB.
    child.write(virt(pages[0]), &[8]).unwrap();
    assert_eq!(tables() - before - made, 2);
    assert_eq!(byte(&space, pages[0]), Some(7));
    // Now no other has the parent's tables of these levels.
    let now = tables();
    space.write(virt(pages[0]), &[9]).unwrap();
    assert_eq!(tables(), now, "the last owner takes the tables over");
    assert_eq!(byte(&child, pages[0]), Some(8));
    assert!(pages[1..].iter().all(|page| byte(&child, *page) == Some(7)));
}

fn parts_of_shared_blocks_change_apart<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>();
    let at = |page: usize| virt(M::base() + page * KIB4);
    space.map_alloc(at(0), MIB2, RW, true).unwrap();
    space.unmap(at(100), 10 * KIB4).unwrap();
    for page in 0..100 {
        space.write(at(page), &[page as u8]).unwrap();
    }
    let child = space.fork().unwrap();
    // In the middle of a shared table: unmap, protect, map in a gap, populated and lazy.
    child.unmap(at(3), 2 * KIB4).unwrap();
    child.protect(at(10), KIB4, RO).unwrap();
    child.map_alloc(at(100), 3 * KIB4, RW, true).unwrap();
    child.map_alloc(at(103), 3 * KIB4, RW, false).unwrap();
    child.write(at(104), &[5]).unwrap();
    assert_eq!(byte(&child, at(3).as_usize()), None);
    assert_eq!(child.write(at(10), &[1]), Err(AxError::BadAddress));
    assert_eq!(byte(&space, at(104).as_usize()), None);
    for page in 0..100 {
        assert_eq!(byte(&space, at(page).as_usize()), Some(page as u8));
    }
    // Rights that are given back must not make a shared page writable.
    for space in [&space, &child] {
        space.protect(at(20), 5 * KIB4, RO).unwrap();
        space.protect(at(20), 5 * KIB4, RW).unwrap();
        space.write(at(20), &[50]).unwrap();
        space.protect(at(21), KIB4, NONE).unwrap();
        space.protect(at(21), KIB4, RW).unwrap();
    }
    child.write(at(21), &[60]).unwrap();
    child.write(at(22), &[61]).unwrap();
    assert_eq!(byte(&space, at(21).as_usize()), Some(21));
    assert_eq!(byte(&space, at(22).as_usize()), Some(22));
    M::walk(&child).unwrap();
    drop((child, space));
    assert_eq!(usage(), before);
}

/// Every allocation of an operation on a forked address space fails once. Nothing has changed then,
/// and the operation succeeds afterwards.
fn without_memory_nothing_changes<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let at = |offset: usize| virt(M::base() + offset);
    type Operation<M> = fn(&AddrSpace<M>, VirtAddr) -> Result<(), AxError>;
    let operations: [Operation<M>; 8] = [
        |space, _| space.fork().map(drop),
        |space, base| space.write(base + 5 * KIB4, &[99]),
        |space, base| space.write(base + GIB - KIB4, &[99]),
        |space, base| space.fault(base + KIB4, RO).map_err(AxError::from),
        |space, base| space.unmap(base + 2 * KIB4, KIB4),
        |space, base| space.protect(base + 3 * KIB4, KIB4, RO),
        |space, base| space.protect(base, 40 * KIB4, NONE),
        |space, base| space.map_alloc(base + 41 * KIB4, 2 * KIB4, RW, true),
    ];
    for (number, operation) in operations.into_iter().enumerate() {
        let mut failed = 0;
        for count in 1.. {
            let space = user::<M>();
            let written = fill(&space);
            let child = space.fork().unwrap();
            let state = (areas(&child), bytes(&child, &written));
            let frames = usage().of(UsageKind::VirtMem);
            let armed = fail_from(count);
            let result = operation(&child, at(0));
            let has_fired = armed.has_fired();
            if let Err(error) = result {
                assert_eq!(error, AxError::NoMemory, "{number}, {count}");
                assert_eq!((areas(&child), bytes(&child, &written)), state);
                assert_eq!(usage().of(UsageKind::VirtMem), frames);
                failed += 1;
                operation(&child, at(0)).unwrap();
            }
            assert_eq!(bytes(&space, &written), state.1, "{number}, {count}");
            drop((space, child));
            assert_eq!(usage(), before, "{number}, {count}");
            if !has_fired {
                break;
            }
        }
        assert!(failed > 0, "operation {number} allocates nothing");
    }
}

/// With several harts, a range that crosses the first GiB lies in two shards. Something is mapped in
/// the second one, so the first is undone. The range there lies below a page table that a fork
/// shares.
fn a_lazy_mapping_that_fails_keeps_shared_tables<R: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = AddrSpace::<Threads<R>>::new_empty_user(virt(R::base()), SIZE).unwrap();
    let at = |page: usize| virt(R::base() + GIB - 10 * KIB4 + page * KIB4);
    for page in [0, 11] {
        space.map_alloc(at(page), KIB4, RW, true).unwrap();
        space.write(at(page), &[5]).unwrap();
    }
    let child = space.fork().unwrap();
    let mapped = space.map_alloc(at(8), 4 * KIB4, RW, false);
    assert_eq!(mapped, Err(AxError::AlreadyExists));
    for space in [&space, &child] {
        for page in [0, 11] {
            assert_eq!(space.read_val::<u8>(at(page)), Ok(5));
        }
        assert_eq!(space.fault(at(8), RO), Err(Fault::Unmapped));
    }
    drop((space, child));
    assert_eq!(usage(), before);
}

fn a_shared_large_page_is_split_for_a_write<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>();
    let (large, beside) = (virt(M::base()), virt(M::base() + MIB2));
    space
        .map_alloc_with(large, MIB2, RW, true, Grain::Large)
        .unwrap();
    // The table that holds the large page is not shared, because a linear area lies beside it.
    space.map_physical(beside, phys(8 * GIB), KIB4, RW).unwrap();
    space.write(large + MIB2 - 1, &[9]).unwrap();
    let child = space.fork().unwrap();
    let frames = usage().of(UsageKind::VirtMem);
    child.write(large + 100 * KIB4, &[1]).unwrap();
    assert_eq!(
        usage().of(UsageKind::VirtMem),
        frames + 1,
        "one page is copied"
    );
    assert_eq!(byte(&space, (large + 100 * KIB4).as_usize()), Some(0));
    assert_eq!(byte(&child, (large + MIB2 - 1).as_usize()), Some(9));
    drop(child);
    space.write(large, &[2]).unwrap();
    assert_eq!(space.page_table().query(large).unwrap().size, MIB2);
    drop(space);
    assert_eq!(usage(), before);
}

fn a_page_that_is_only_read_takes_no_frame<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>();
    let at = |page: usize| virt(M::base() + page * KIB4);
    space.map_alloc(at(0), 8 * KIB4, RW, false).unwrap();
    let frames = usage().of(UsageKind::VirtMem);
    for page in 0..8 {
        assert_eq!(space.fault(at(page), MappingFlags::READ), Ok(()));
        assert_eq!(byte(&space, at(page).as_usize()), Some(0));
    }
    assert_eq!(usage().of(UsageKind::VirtMem), frames);
    assert_eq!(
        space.fault(at(0), MappingFlags::EXECUTE),
        Err(Fault::Denied)
    );
    let child = space.fork().unwrap();
    space.write(at(1), &[1]).unwrap();
    assert_eq!(usage().of(UsageKind::VirtMem), frames + 1);
    space.protect(at(2), 2 * KIB4, RO).unwrap();
    space.protect(at(2), 2 * KIB4, RW).unwrap();
    space.write(at(2), &[2]).unwrap();
    child.write(at(3), &[3]).unwrap();
    for (space, expected) in [(&space, [0, 1, 2, 0]), (&child, [0, 0, 0, 3])] {
        let found = [0, 1, 2, 3].map(|page| byte(space, at(page).as_usize()));
        assert_eq!(found, expected.map(Some));
    }
    space.unmap(at(0), 8 * KIB4).unwrap();
    drop((space, child));
    assert_eq!(usage(), before);
}

/// Other harts write meanwhile. A page is in a child as it was before one of these writes, or after
/// it, and does not change later.
fn other_harts_write_while_children_are_made<R: TestMachine>() {
    const PAGES: usize = 24;
    const ROUNDS: usize = if cfg!(miri) { 50 } else { 5000 };
    let _alone = alone();
    let before = usage();
    // The pages lie in two shards, or in the only one.
    for (size, first) in [(SIZE, GIB - PAGES / 2 * KIB4), (2 * MIB2, 0)] {
        let page = |number: usize| virt(R::base() + first + number * KIB4);
        let space = AddrSpace::<Threads<R>>::new_empty_user(virt(R::base()), size).unwrap();
        space.map_alloc(page(0), PAGES * KIB4, RW, false).unwrap();
        fork_beside_writers(&space, PAGES, ROUNDS, page);
    }
    assert_eq!(usage(), before);
}

fn fork_beside_writers<R: TestMachine>(
    space: &AddrSpace<Threads<R>>,
    pages: usize,
    rounds: usize,
    page: impl Fn(usize) -> VirtAddr + Copy + Send,
) {
    let contents = |space: &AddrSpace<Threads<R>>| -> Vec<u8> {
        let one = |number| {
            let mut bytes = [0; KIB4];
            space.read(page(number), &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {number}");
            bytes[0]
        };
        (0..pages).map(one).collect()
    };
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
        let mut last: Option<(AddrSpace<Threads<R>>, Vec<u8>)> = None;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let child = space.fork().unwrap();
            let found = contents(&child);
            // Both sides write to one page.
            child.write(page(5), &[255; KIB4]).unwrap();
            let mut expected = found.clone();
            expected[5] = 255;
            assert_eq!(contents(&child), expected);
            if let Some((older, expected)) = last.replace((child, expected)) {
                assert_eq!(contents(&older), expected);
            }
        }
    });
}

/// Returns an address space with two written pages, and a child whose page table for them is its
/// own. Both share the frames.
fn with_shared_pages<M: TestMachine>() -> [AddrSpace<Threads<M>>; 2] {
    let base = virt(M::base());
    let space = AddrSpace::new_empty_user(base, SIZE).unwrap();
    space.map_alloc(base, 2 * KIB4, RW, true).unwrap();
    let child = space.fork().unwrap();
    child.fault(base, RO).unwrap();
    [space, child]
}

/// The hart that copies flushes its own TLB. If other harts are inside, all of them flush.
fn a_copied_page_is_flushed_from_every_tlb<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(0);
    let [_parent, child] = with_shared_pages::<M>();
    let page = |number: usize| M::base() + number * KIB4..M::base() + (number + 1) * KIB4;
    let write = |number: usize| child.fault(virt(page(number).start), WRITE).unwrap();
    let mut entries = Entries::new();
    entries.enter(&child, 0);
    let mut local = vec![];
    let others = flushes_of(|| local = local_flushes_of(|| write(0)));
    assert_eq!((local, others), (vec![page(0)], vec![]));
    entries.enter(&child, 1);
    assert_eq!(flushes_of(|| write(1)), [(0b11, page(1))]);
    leave(&child, 0);
    leave(&child, 1);
}

/// A hart reads the old frame of a page without a TLB, while it holds its fault slot.
fn a_page_is_not_copied_beside_a_read_of_it<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(0);
    let [_parent, child] = with_shared_pages::<M>().map(Arc::new);
    let page = virt(M::base());
    let (writer, written) = (Rc::new(Cell::new(None)), child.clone());
    let writing = writer.clone();
    at_next_copy(move || {
        let write = move || written.fault(page, WRITE).unwrap();
        writing.set(Some(spawn_until_it_waits(write)));
    });
    child.read(page, &mut [0]).unwrap();
    writer.take().unwrap().join().unwrap();
}

on_every_machine!(
    a_child_has_the_same_areas_and_bytes,
    each_side_sees_its_own_writes_alone,
    a_page_that_is_no_longer_shared_is_written_in_place,
    a_whole_gigabyte_is_shared_by_one_table,
    parts_of_shared_blocks_change_apart,
    without_memory_nothing_changes,
    a_lazy_mapping_that_fails_keeps_shared_tables,
    a_shared_large_page_is_split_for_a_write,
    a_page_that_is_only_read_takes_no_frame,
    a_copied_page_is_flushed_from_every_tlb,
    a_page_is_not_copied_beside_a_read_of_it,
    other_harts_write_while_children_are_made,
);

#[test]
fn the_kernels_address_space_is_not_forked() {
    let _alone = alone();
    let kernel = AddrSpace::<X64>::new_empty(virt(X64::base()), SIZE).unwrap();
    assert_eq!(kernel.fork().err(), Some(AxError::InvalidInput));
}
