//! Mappings of memory objects: what the address spaces that map one see, and what is left when
//! pages are taken away, when memory runs out, and when all is dropped.

use std::alloc::System;
use std::cell::Cell;
use std::hint;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use axalloc::fault::{FailingHeap, fail_from};
use axalloc::usage;
use axerrno::AxError;
use axmm::vmo::{CachePolicy, Vmo};
use axmm::{AddrSpace, Fault, Machine, Sharing, VirtAddr};

mod support;

use support::threads::{
    Threads, before_irqs_are_disabled, set_this_hart, spawn_until_it_waits_or_ends,
};
use support::{GIB, KIB4, MIB2, NONE, RO, RW, TestMachine, WRITE, alone, virt};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

const SIZE: usize = 4 * GIB;
const PAGES: usize = 100;

fn user<M: Machine>(base: usize) -> Pin<Box<AddrSpace<M>>> {
    Box::pin(AddrSpace::new_empty_user(virt(base), SIZE).unwrap())
}

fn byte<M: Machine>(space: &AddrSpace<M>, addr: VirtAddr) -> Option<u8> {
    let mut byte = [0];
    space.read(addr, &mut byte).ok().map(|()| byte[0])
}

fn byte_of<M: Machine>(object: &Vmo<M>, offset: usize) -> u8 {
    let mut byte = [0];
    object.read(offset, &mut byte).unwrap();
    byte[0]
}

/// Maps all of an object at an address.
fn show<M: Machine>(space: &Pin<Box<AddrSpace<M>>>, start: VirtAddr, object: &Vmo<M>) {
    let space = space.as_ref();
    let mapped = space.map_object(start, object.len(), RW, object, 0, Sharing::Shared);
    mapped.unwrap();
}

fn all_mappings_of_an_object_show_the_same<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::<M>::new_paged(PAGES * KIB4).unwrap();
    let spaces = [user::<M>(M::base()), user::<M>(M::base())];
    let starts = [virt(M::base() + 7 * KIB4), virt(M::base() + GIB - 3 * KIB4)];
    for (space, start) in spaces.iter().zip(starts) {
        show(space, start, &object);
    }
    // Read before it is written: the zero frame is replaced in every mapping.
    let at = |side: usize, page: usize| starts[side] + page * KIB4;
    for page in 0..PAGES {
        assert_eq!(byte(&spaces[1], at(1, page)), Some(0));
    }
    assert_eq!(object.committed_bytes(), 0, "reads take no frame");
    for page in 0..PAGES {
        spaces[0].write(at(0, page), &[page as u8 + 1]).unwrap();
        assert_eq!(byte(&spaces[1], at(1, page)), Some(page as u8 + 1));
        spaces[1].write(at(1, page) + 1, &[77]).unwrap();
        assert_eq!(byte(&spaces[0], at(0, page) + 1), Some(77));
        assert_eq!(byte_of(&object, page * KIB4), page as u8 + 1);
    }
    object.write(5 * KIB4 - 1, &[8, 9]).unwrap();
    assert_eq!(byte(&spaces[0], at(0, 5)), Some(9));
    assert_eq!(object.committed_bytes(), PAGES * KIB4);
    // The mappings keep the object.
    drop(object);
    assert_eq!(byte(&spaces[1], at(1, 5)), Some(9));
    spaces[0].unmap(starts[0], PAGES * KIB4).unwrap();
    spaces[1].unmap(at(1, 10), 10 * KIB4).unwrap();
    assert_eq!(byte(&spaces[1], at(1, 9)), Some(10));
    assert_eq!(byte(&spaces[1], at(1, 10)), None);
    for space in &spaces {
        M::walk(space).unwrap();
    }
    drop(spaces);
    assert_eq!(usage(), before);
}

fn what_is_taken_from_an_object_is_gone_everywhere<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::<M>::new_resizable(PAGES * KIB4).unwrap();
    let spaces: Vec<_> = (0..8).map(|_| user::<M>(M::base())).collect();
    let start = virt(M::base() + GIB - 50 * KIB4);
    for space in &spaces {
        show(space, start, &object);
    }
    for page in 0..PAGES {
        spaces[page % 8].write(start + page * KIB4, &[1]).unwrap();
    }
    for (space, page) in spaces
        .iter()
        .flat_map(|space| (0..PAGES).map(move |page| (space, page)))
    {
        assert_eq!(byte(space, start + page * KIB4), Some(1));
    }
    object.decommit(10 * KIB4..20 * KIB4).unwrap();
    object.zero(30 * KIB4..31 * KIB4).unwrap();
    object.resize(60 * KIB4).unwrap();
    assert_eq!(object.committed_bytes(), 49 * KIB4);
    for space in &spaces {
        for page in 0..PAGES {
            let expected = match page {
                10..20 | 30 => Some(0),
                60.. => None,
                _ => Some(1),
            };
            assert_eq!(byte(space, start + page * KIB4), expected, "page {page}");
        }
        assert_eq!(space.query(start + 60 * KIB4), None);
        assert_eq!(space.fault(start + 60 * KIB4, RO), Err(Fault::Bus));
    }
    object.resize(PAGES * KIB4).unwrap();
    spaces[3].write(start + 99 * KIB4, &[5]).unwrap();
    assert_eq!(byte(&spaces[4], start + 99 * KIB4), Some(5));
    drop((object, spaces));
    assert_eq!(usage(), before);
}

fn a_snapshot_of_a_mapped_object_does_not_change<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::<M>::new_paged(PAGES * KIB4).unwrap();
    let space = user::<M>(M::base());
    let start = virt(M::base());
    show(&space, start, &object);
    for page in 0..PAGES / 2 {
        space.write(start + page * KIB4, &[1]).unwrap();
    }
    let snapshot = object.snapshot().unwrap();
    let copy = virt(M::base() + GIB);
    show(&space, copy, &snapshot);
    for page in 0..PAGES {
        space.write(start + page * KIB4, &[2]).unwrap();
        let was = u8::from(page < PAGES / 2);
        assert_eq!(byte_of(&snapshot, page * KIB4), was);
        assert_eq!(byte(&space, copy + page * KIB4), Some(was));
        space.write(copy + page * KIB4, &[3]).unwrap();
        assert_eq!(byte(&space, start + page * KIB4), Some(2));
    }
    // The right to write that is given back must not open a shared page.
    let again = object.snapshot().unwrap();
    space.protect(start, PAGES * KIB4, RO).unwrap();
    space.protect(start, PAGES * KIB4, RW).unwrap();
    space.write(start, &[4]).unwrap();
    assert_eq!(byte_of(&again, 0), 2);
    drop((object, snapshot, again, space));
    assert_eq!(usage(), before);
}

fn a_private_mapping_shows_what_was_there<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::<M>::new_paged(PAGES * KIB4).unwrap();
    object.write(3 * KIB4, &[1; 2 * KIB4]).unwrap();
    let space = user::<M>(M::base());
    let start = virt(M::base() + MIB2 - 50 * KIB4);
    let map = space.as_ref();
    map.map_object(start, PAGES * KIB4, RW, &object, 0, Sharing::Private)
        .unwrap();
    object.write(3 * KIB4, &[9]).unwrap();
    assert_eq!(byte(&space, start + 3 * KIB4), Some(1));
    space.write(start + 4 * KIB4, &[5]).unwrap();
    space.write(start + 7 * KIB4, &[6]).unwrap();
    assert_eq!(
        [3, 4, 7].map(|page| byte_of(&object, page * KIB4)),
        [9, 1, 0]
    );
    // A fork shares it, and both sides change apart.
    let child = space.fork().unwrap();
    child.write(start + 4 * KIB4, &[10]).unwrap();
    space.write(start + 3 * KIB4, &[11]).unwrap();
    let seen = |space: &AddrSpace<M>| [3, 4, 7].map(|page| byte(space, start + page * KIB4));
    assert_eq!(seen(&child), [Some(1), Some(10), Some(6)]);
    assert_eq!(seen(&space), [Some(11), Some(5), Some(6)]);
    // A page that neither has accessed, below a page table that both share.
    let last = start + (PAGES - 1) * KIB4;
    let grandchild = child.fork().unwrap();
    assert_eq!(grandchild.fault(last, RO), Ok(()));
    assert_eq!(child.fault(last, WRITE), Ok(()));
    drop(grandchild);
    let copy = child.clone_eager().unwrap();
    drop(child);
    assert_eq!(seen(&copy), [Some(1), Some(10), Some(6)]);
    assert_eq!(byte(&copy, start + 50 * KIB4), Some(0));
    drop((object, space, copy));
    assert_eq!(usage(), before);
}

fn a_fork_shares_shared_mappings<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::<M>::new_resizable(PAGES * KIB4).unwrap();
    let space = user::<M>(M::base());
    let (start, own) = (virt(M::base()), virt(M::base() + MIB2 / 2));
    show(&space, start, &object);
    space.map_alloc(own, MIB2, RW, true).unwrap();
    space.write(start, &[1]).unwrap();
    space.write(own, &[1]).unwrap();
    assert_eq!(space.fork().err(), Some(AxError::Unsupported));
    assert_eq!(space.clone_eager().err(), Some(AxError::Unsupported));
    let child = user::<M>(M::base());
    space.fork_into(child.as_ref()).unwrap();
    assert_eq!(space.fork_into(child.as_ref()), Err(AxError::InvalidInput));
    child.write(start, &[2]).unwrap();
    child.write(own, &[2]).unwrap();
    assert_eq!([start, own].map(|at| byte(&space, at)), [Some(2), Some(1)]);
    object.resize(0).unwrap();
    for space in [&space, &child] {
        assert_eq!(space.fault(start, RO), Err(Fault::Bus));
    }
    drop((space, child, object));
    assert_eq!(usage(), before);
}

/// After a fork, both sides share a page table with the gaps in it. A shared mapping in such a gap
/// must not become a part of the shared table: the object takes its pages away on one side only.
fn a_shared_mapping_is_below_no_shared_table<M: TestMachine>() {
    let _alone = alone();
    map_in_shared_tables::<M>(M::base());
    map_in_shared_tables::<Threads<M>>(M::base());
}

fn map_in_shared_tables<M: Machine>(base: usize) {
    let before = usage();
    let own = virt(base);
    let space = user::<M>(base);
    space.map_alloc(own, KIB4, RW, true).unwrap();
    space.write(own, &[5]).unwrap();
    let child = space.fork().unwrap();
    let object = Vmo::<M>::new_resizable(2 * KIB4).unwrap();
    // In the 2 MiB and in the 1 GiB of the page that is shared.
    let starts = [own + 3 * KIB4, own + 3 * MIB2];
    for start in starts {
        let map = || {
            let space = space.as_ref();
            space.map_object(start, 2 * KIB4, RW, &object, 0, Sharing::Shared)
        };
        let mut failures = 0;
        loop {
            let armed = fail_from(failures + 1);
            let mapped = map();
            if !armed.has_fired() {
                mapped.unwrap();
                break;
            }
            assert_eq!(mapped, Err(AxError::NoMemory));
            failures += 1;
        }
        assert!(failures > 0, "nothing is allocated");
        // Unmaps the second page, which has never been accessed.
        object.decommit(KIB4..2 * KIB4).unwrap();
        object.snapshot().unwrap();
        space.fault(start, RO).unwrap();
        space.write(start, &[1]).unwrap();
        assert_eq!(byte_of(&object, 0), 1);
    }
    object.resize(0).unwrap();
    for space in [&space, &child] {
        assert_eq!(byte(space, own), Some(5));
    }
    assert_eq!(space.fault(starts[0], RO), Err(Fault::Bus));
    assert_eq!(child.fault(starts[0], RO), Err(Fault::Unmapped));
    drop((space, child, object));
    assert_eq!(usage(), before);
}

fn without_memory_nothing_changes<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let start = virt(M::base());
    type Operation<M> = fn(&Pin<Box<AddrSpace<M>>>, &Vmo<M>, VirtAddr) -> Result<(), AxError>;
    let operations: [Operation<M>; 6] = [
        |space, object, start| {
            let (space, at) = (space.as_ref(), start + GIB);
            space.map_object(at, 4 * KIB4, RW, object, KIB4, Sharing::Shared)
        },
        |space, object, start| {
            let (space, at) = (space.as_ref(), start + GIB);
            space.map_object(at, 4 * KIB4, RW, object, KIB4, Sharing::Private)
        },
        |space, _, start| Ok(space.fault(start + 70 * KIB4, WRITE)?),
        |space, _, start| Ok(space.fault(start, WRITE)?),
        |space, _, start| space.unmap(start + 3 * KIB4, KIB4),
        |space, _, start| space.protect(start + 3 * KIB4, KIB4, RO),
    ];
    for (number, operation) in operations.into_iter().enumerate() {
        let mut failed = 0;
        for count in 1.. {
            let object = Vmo::<M>::new_paged(PAGES * KIB4).unwrap();
            object.write(0, &[7; 10 * KIB4]).unwrap();
            let snapshot = object.snapshot().unwrap();
            let space = user::<M>(M::base());
            show(&space, start, &object);
            assert_eq!(byte(&space, start), Some(7));
            let armed = fail_from(count);
            let result = operation(&space, &object, start);
            let has_fired = armed.has_fired();
            if let Err(error) = result {
                assert_eq!(error, AxError::NoMemory, "{number}, {count}");
                failed += 1;
                operation(&space, &object, start).unwrap();
            }
            assert_eq!(byte_of(&snapshot, 0), 7);
            assert_eq!(byte(&space, start + 9 * KIB4), Some(7));
            drop((object, snapshot, space));
            assert_eq!(usage(), before, "{number}, {count}");
            if !has_fired {
                break;
            }
        }
        assert!(failed > 0, "operation {number} allocates nothing");
    }
}

fn wrong_mappings_are_refused<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let space = user::<M>(M::base());
    let start = virt(M::base());
    let object = Vmo::<M>::new_paged(4 * KIB4).unwrap();
    let map = |start, size, flags, offset, sharing| {
        space
            .as_ref()
            .map_object(start, size, flags, &object, offset, sharing)
    };
    let wrong = Err(AxError::InvalidInput);
    for sharing in [Sharing::Shared, Sharing::Private] {
        assert_eq!(map(start, 5 * KIB4, RW, 0, sharing), wrong);
        assert_eq!(map(start, 4 * KIB4, RW, KIB4, sharing), wrong);
        assert_eq!(map(start, KIB4, RW, 100, sharing), wrong);
        assert_eq!(map(start, KIB4, RW, usize::MAX - KIB4 + 1, sharing), wrong);
        assert_eq!(map(start, 0, RW, 0, sharing), wrong);
        assert_eq!(map(start + 1, KIB4, RW, 0, sharing), wrong);
        assert_eq!(map(start, KIB4, WRITE, 0, sharing), wrong);
        map(start, KIB4, NONE, 0, sharing).unwrap();
        assert_eq!(
            map(start, KIB4, RW, 0, sharing),
            Err(AxError::AlreadyExists)
        );
        assert_eq!(byte(&space, start), None);
        space.unmap(start, KIB4).unwrap();
    }
    let kernel = Box::pin(AddrSpace::<M>::new_empty(start, SIZE).unwrap());
    let private = kernel.as_ref();
    let private = private.map_object(start, KIB4, RW, &object, 0, Sharing::Private);
    assert_eq!(private, wrong);
    show(&kernel, start, &object);
    assert_eq!(
        object.set_cache_policy(CachePolicy::Uncached),
        Err(AxError::BadState)
    );
    kernel.write(start, &[1]).unwrap();
    assert_eq!(byte_of(&object, 0), 1);
    drop((kernel, space, object));
    assert_eq!(usage(), before);
}

/// Runs `action` when this hart disables interrupts, after `times` times.
fn at_step(times: usize, action: impl FnOnce() + 'static) {
    before_irqs_are_disabled(move || match times {
        0 => action(),
        _ => at_step(times - 1, action),
    });
}

/// While a hart gives a page of an object a frame of its own, another one writes to the page.
fn a_write_beside_the_first_one_is_not_refused<R: TestMachine>() {
    let _alone = alone();
    let at = virt(R::base());
    for step in 0..40 {
        let object = Vmo::<Threads<R>>::new_paged(KIB4).unwrap();
        let space = Arc::new(user::<Threads<R>>(R::base()));
        show(&space, at, &object);
        space.fault(at, RO).unwrap();
        let writer = Rc::new(Cell::new(None));
        let (writing, shown) = (writer.clone(), space.clone());
        at_step(step, move || {
            let write = move || shown.fault(at, WRITE).unwrap();
            writing.set(Some(spawn_until_it_waits_or_ends(write).0));
        });
        object.write(0, &[1]).unwrap();
        before_irqs_are_disabled(|| {});
        if let Some(writer) = writer.take() {
            writer.join().unwrap();
        }
        assert_eq!(byte(&space, at), Some(1));
    }
}

/// Returns when both harts have called this for the `phase`th time.
fn meet(arrived: &AtomicUsize, phase: usize) {
    arrived.fetch_add(1, Relaxed);
    let mut spins = 0;
    while arrived.load(Relaxed) < 2 * phase {
        spins += 1;
        match spins % 1000 {
            0 => thread::yield_now(),
            _ => hint::spin_loop(),
        }
    }
}

/// Two harts use a page of an object for the first time, and no page table leads to it. One hart
/// reads, and the other writes.
fn a_first_write_beside_a_first_read_is_not_refused<R: TestMachine>() {
    const ROUNDS: usize = if cfg!(miri) { 10 } else { 3000 };
    let _alone = alone();
    let object = Vmo::<Threads<R>>::new_paged(KIB4).unwrap();
    object.write(0, &[1]).unwrap();
    let (space, at) = (user::<Threads<R>>(R::base()), virt(R::base()));
    let (refused, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = |hart, access| {
        set_this_hart(hart);
        for round in 0..ROUNDS {
            if hart == 0 {
                show(&space, at, &object);
            }
            meet(&arrived, 2 * round + 1);
            refused.fetch_add(usize::from(space.fault(at, access).is_err()), Relaxed);
            meet(&arrived, 2 * round + 2);
            if hart == 0 {
                space.unmap(at, KIB4).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| work(0, RO));
        scope.spawn(|| work(1, WRITE));
    });
    assert_eq!(refused.into_inner(), 0);
}

/// Two harts write to a mapped object and read it while another takes snapshots, shrinks it and
/// unmaps it.
fn harts_use_an_object_while_it_changes<R: TestMachine>() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 1000 };
    let _alone = alone();
    let before = usage();
    let object = Vmo::<Threads<R>>::new_resizable(PAGES * KIB4).unwrap();
    let spaces = [user::<Threads<R>>(R::base()), user::<Threads<R>>(R::base())];
    let start = virt(R::base());
    for space in &spaces {
        show(space, start, &object);
    }
    thread::scope(|scope| {
        let writers = [1, 2].map(|hart| {
            let space = &spaces[hart - 1];
            scope.spawn(move || {
                set_this_hart(hart);
                for round in 0..ROUNDS * 10 {
                    let page = start + (round * 7 + hart) % PAGES * KIB4;
                    // Fails past the end.
                    _ = space.write(page + 8 * hart, &(round as u64).to_ne_bytes());
                    let mut word = [0; 8];
                    _ = space.read(page + 8 * (3 - hart), &mut word);
                }
            })
        });
        set_this_hart(0);
        let mut round = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let snapshot = object.snapshot().unwrap();
            let read = |offset| {
                let mut word = [0; 16];
                snapshot.read(offset, &mut word).unwrap();
                word
            };
            let pages = snapshot.len() / KIB4;
            let first: Vec<_> = (0..pages).map(|page| read(page * KIB4 + 8)).collect();
            thread::yield_now();
            let second: Vec<_> = (0..pages).map(|page| read(page * KIB4 + 8)).collect();
            assert_eq!(first, second, "a snapshot changes");
            let len = [PAGES, 30, 70][round % 3] * KIB4;
            object.resize(len).unwrap();
            round += 1;
        }
        assert!(round > 3, "only {round} rounds");
    });
    drop((object, spaces));
    assert_eq!(usage(), before);
}

/// The parent has a table for pages of an object, and private memory that ends before it and begins
/// behind it. The child does not get the pages, so it needs no table for them.
fn a_fork_makes_no_empty_table<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let object = Vmo::<M>::new_paged(PAGES * KIB4).unwrap();
    let space = user::<M>(M::base());
    let at = |offset| virt(M::base() + offset);
    show(&space, at(2 * MIB2 + 8 * KIB4), &object);
    for own in [at(MIB2), at(4 * MIB2), at(GIB)] {
        space.map_alloc(own, KIB4, RW, false).unwrap();
        space.write(own, &[1]).unwrap();
    }
    space.write(at(2 * MIB2 + 8 * KIB4), &[1]).unwrap();
    let child = user::<M>(M::base());
    space.fork_into(child.as_ref()).unwrap();
    M::walk(&child).unwrap();
    assert_eq!(byte(&child, at(2 * MIB2 + 8 * KIB4)), Some(1));
    drop((child, space, object));
    assert_eq!(usage(), before);
}

on_every_machine!(
    a_fork_makes_no_empty_table,
    all_mappings_of_an_object_show_the_same,
    what_is_taken_from_an_object_is_gone_everywhere,
    a_snapshot_of_a_mapped_object_does_not_change,
    a_private_mapping_shows_what_was_there,
    a_fork_shares_shared_mappings,
    a_shared_mapping_is_below_no_shared_table,
    without_memory_nothing_changes,
    wrong_mappings_are_refused,
    a_write_beside_the_first_one_is_not_refused,
    a_first_write_beside_a_first_read_is_not_refused,
    harts_use_an_object_while_it_changes,
);
