//! An object that takes pages away from many address spaces makes harts flush once for all of them,
//! and never keeps one address space locked while it waits for another.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use axerrno::AxResult;
use axmm::tlb::state::FlushOnEntry;
use axmm::vmo::Vmo;
use axmm::{AddrSpace, Machine, Sharing, VirtAddr};

mod support;

use support::threads::{
    Entries, Flush, Threads, at_next_flush, flushes_of, leave, set_this_hart, spawn_until_it_waits,
};
use support::{GIB, KIB4, MIB2, RO, RW, TestMachine, WRITE, alone, virt};

const PAGES: usize = 20;
/// The most parts of mappings that are flushed with one request.
const BATCH: usize = 8;
/// The size of an address space in several shards, each of one entry of the root table.
const SHARDS: usize = 4;
/// The hart that performs the operations. No address space has it inside.
const HART: usize = 0;

type Space<M> = Pin<Box<AddrSpace<M>>>;
type Operation<M> = fn(&Vmo<M>) -> AxResult;

/// Returns an address space that starts at `start`.
fn space<M: Machine>(start: VirtAddr, size: usize) -> Space<M> {
    Box::pin(AddrSpace::new_empty_user(start, size).unwrap())
}

/// Returns the number of bytes that an entry of the root table translates.
fn root_entry<M: TestMachine>() -> usize {
    use support::raw::Format;
    KIB4 << (9 * (M::Raw::LEVELS - 1))
}

/// Maps all of an object at an address.
fn show<M: Machine>(space: &Space<M>, start: VirtAddr, object: &Vmo<M>) {
    let space = space.as_ref();
    let mapped = space.map_object(start, object.len(), RW, object, 0, Sharing::Shared);
    mapped.unwrap();
}

/// Writes to all pages of an object through a mapping of it at `start`.
fn write_all<M: Machine>(space: &AddrSpace<M>, start: VirtAddr) {
    (0..PAGES).for_each(|page| space.fault(start + page * KIB4, WRITE).unwrap());
}

/// The operations that take pages away, or the right to write to them. After each, the first page
/// is gone or read-only.
fn operations<M: Machine>() -> [(&'static str, Operation<M>); 4] {
    [
        ("shrink", |object| object.resize(0)),
        ("decommit", |object| object.decommit(0..PAGES * KIB4)),
        ("zero", |object| object.zero(0..PAGES * KIB4)),
        ("snapshot", |object| object.snapshot().map(drop)),
    ]
}

/// Maps an object at `starts` in each of `spaces`, and counts the requests of each operation that
/// takes all pages away. `enter` says which hart is inside which address space.
fn requests<M: Machine>(
    spaces: &[Space<M>],
    starts: &[VirtAddr],
    enter: impl Fn(usize) -> usize,
) -> Vec<(&'static str, Vec<Flush>)> {
    let mut entries = Entries::new();
    for (number, space) in spaces.iter().enumerate() {
        entries.enter(space, enter(number));
    }
    let count = |(name, operation): (_, Operation<M>)| {
        let object = Vmo::<M>::new_resizable(PAGES * KIB4).unwrap();
        for (space, start) in spaces
            .iter()
            .flat_map(|one| starts.iter().map(move |at| (one, *at)))
        {
            show(space, start, &object);
            write_all(space, start);
        }
        let flushes = flushes_of(|| operation(&object).unwrap());
        for (space, start) in spaces
            .iter()
            .flat_map(|one| starts.iter().map(move |at| (one, *at)))
        {
            let page = space.query(start);
            assert!(
                page.is_none_or(|page| !page.flags.contains(WRITE)),
                "{name}"
            );
            space.unmap(start, PAGES * KIB4).unwrap();
        }
        (name, flushes)
    };
    let counts = operations().map(count).into();
    for (number, space) in spaces.iter().enumerate() {
        leave(space, enter(number));
    }
    counts
}

fn eight_address_spaces_are_flushed_with_one_request<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    let spaces: Vec<Space<Threads<M>>> = (0..8).map(|_| space(base, GIB)).collect();
    for (name, flushes) in requests(&spaces, &[base + MIB2], |number| 1 + number % 2) {
        assert_eq!(flushes.len(), 1, "{name}: {flushes:x?}");
        assert_eq!(flushes[0].0, 0b110, "{name}: harts of all address spaces");
        assert!(flushes[0].1.start <= M::base() + MIB2);
        assert!(flushes[0].1.end >= M::base() + MIB2 + PAGES * KIB4);
    }
}

/// Beside the object lies an area that was never touched, so its page table holds addresses that are
/// in use, and becomes empty nevertheless.
fn tables_that_become_empty_take_no_request_of_their_own<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    let spaces: Vec<Space<Threads<M>>> = (0..8).map(|_| space(base, GIB)).collect();
    for space in &spaces {
        space.map_alloc(base, 3 * KIB4, RW, false).unwrap();
    }
    for (name, flushes) in requests(&spaces, &[base + 3 * KIB4], |_| 2) {
        assert_eq!(flushes.len(), 1, "{name}: {flushes:x?}");
    }
    for space in &spaces {
        assert_eq!(
            M::walk_from(space.page_table_root().as_usize())
                .unwrap()
                .tables
                .len(),
            1
        );
    }
}

fn twenty_address_spaces_take_a_request_for_each_eight<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    let spaces: Vec<Space<Threads<M>>> = (0..20).map(|_| space(base, GIB)).collect();
    for (name, flushes) in requests(&spaces, &[base], |_| 1) {
        assert_eq!(
            flushes.len(),
            20_usize.div_ceil(BATCH),
            "{name}: {flushes:x?}"
        );
    }
}

/// One hart has one locked range in each shard.
fn two_mappings_in_a_shard_take_a_request_each<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    let spaces = [space::<Threads<M>>(base, GIB)];
    for (name, flushes) in requests(&spaces, &[base, base + MIB2], |_| 1) {
        assert_eq!(flushes.len(), 2, "{name}: {flushes:x?}");
    }
}

/// Each of the mappings lies in two shards, and so counts twice.
fn mappings_in_several_shards_are_flushed_with_one_request<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let (start, entry) = (virt(4 * root_entry::<M>()), root_entry::<M>());
    let spaces: Vec<Space<Threads<M>>> = (0..2).map(|_| space(start, SHARDS * entry)).collect();
    let starts = [start + entry - 5 * KIB4, start + 3 * entry - KIB4];
    for (name, flushes) in requests(&spaces, &starts, |_| 1) {
        assert_eq!(flushes.len(), 1, "{name}: {flushes:x?}");
    }
}

fn a_page_is_copied_with_one_request<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    let object = Vmo::<Threads<M>>::new_paged(PAGES * KIB4).unwrap();
    let spaces: Vec<Space<Threads<M>>> = (0..8).map(|_| space(base, GIB)).collect();
    let mut entries = Entries::new();
    for space in &spaces {
        show(space, base, &object);
        write_all(space, base);
        entries.enter(space, 1);
    }
    let snapshot = object.snapshot().unwrap();
    spaces
        .iter()
        .for_each(|space| space.fault(base, RO).unwrap());
    let flushes = flushes_of(|| spaces[3].write(base, &[5]).unwrap());
    assert_eq!(flushes, [(0b10, M::base()..M::base() + KIB4)]);
    spaces.iter().for_each(|space| leave(space, 1));
    drop(snapshot);
}

/// A hart that is outside gets no request. It flushes when it enters.
fn harts_outside_flush_when_they_enter<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    let object = Vmo::<Threads<M>>::new_resizable(PAGES * KIB4).unwrap();
    let spaces: Vec<Space<Threads<M>>> = (0..8).map(|_| space(base, GIB)).collect();
    let mut entries = Entries::new();
    for space in &spaces {
        show(space, base, &object);
        write_all(space, base);
        for _ in 0..2 {
            entries.enter(space, 1);
            leave(space, 1);
        }
    }
    entries.enter(&spaces[6], 2);
    let flushes = flushes_of(|| object.resize(0).unwrap());
    assert_eq!(flushes.len(), 1);
    assert_eq!(flushes[0].0, 0b100);
    leave(&spaces[6], 2);
    for space in &spaces {
        assert_eq!(entries.enter(space, 1), FlushOnEntry::Asid);
        leave(space, 1);
    }
}

/// An operation has locked its range in one address space, and an object waits for that. Meanwhile
/// the other address space is free.
fn nothing_is_locked_while_an_object_waits<M: TestMachine>() {
    let _alone = alone();
    set_this_hart(HART);
    let base = virt(M::base());
    // The object visits one of them first, so each is the one that it must wait for.
    for blocked in 0..2 {
        let object = Arc::new(Vmo::<Threads<M>>::new_paged(PAGES * KIB4).unwrap());
        let spaces: Arc<[Space<Threads<M>>; 2]> = Arc::new([(); 2].map(|()| space(base, GIB)));
        let mut entries = Entries::new();
        for space in &*spaces {
            show(space, base, &object);
            write_all(space, base);
            entries.enter(space, 1);
        }
        let shared = Arc::clone(&spaces);
        let (sender, receiver) = std::sync::mpsc::channel();
        at_next_flush(move || {
            let taking = spawn_until_it_waits(move || object.zero(0..PAGES * KIB4).unwrap());
            shared[1 - blocked].unmap(base, KIB4).unwrap();
            sender.send(taking).unwrap();
        });
        spaces[blocked].protect(base, KIB4, RO).unwrap();
        receiver.recv().unwrap().join().unwrap();
        for space in &*spaces {
            assert_eq!(space.query(base + KIB4), None);
            leave(space, 1);
        }
    }
}

/// Two objects lie side by side in four address spaces, in either order, and across two shards. Two
/// harts change them while a third unmaps and maps what shows both.
fn objects_that_share_address_spaces_end<M: TestMachine>() {
    const ROUNDS: usize = 1000;
    let _alone = alone();
    let (base, entry) = (4 * root_entry::<M>(), root_entry::<M>());
    let middle = virt(base + entry);
    let new = || Vmo::<Threads<M>>::new_resizable(PAGES * KIB4).unwrap();
    let objects = [new(), new()];
    let spaces: Vec<Space<Threads<M>>> = (0..4).map(|_| space(virt(base), 2 * entry)).collect();
    // The first of the two lies across the shards.
    let start = |place: usize| middle - 5 * KIB4 + place * PAGES * KIB4;
    let place = |number: usize, object: usize| start((number + object) % 2);
    let map = |number: usize, object: usize| {
        let (start, size) = (place(number, object), PAGES * KIB4);
        let space = spaces[number].as_ref();
        // Fails while the object is short, or while it is mapped.
        _ = space.map_object(start, size, RW, &objects[object], 0, Sharing::Shared);
    };
    for number in 0..spaces.len() {
        (0..2).for_each(|object| map(number, object));
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let changes = [0, 1].map(|number| {
            let (spaces, objects) = (&spaces, &objects);
            scope.spawn(move || {
                set_this_hart(number);
                for round in 0..ROUNDS {
                    let object = &objects[number];
                    object.resize((round % 3) * KIB4).unwrap();
                    object.resize(PAGES * KIB4).unwrap();
                    let space = &spaces[round % 4];
                    for page in 0..PAGES {
                        _ = space.fault(place(round % 4, number) + page * KIB4, WRITE);
                    }
                    drop(object.snapshot().unwrap());
                    _ = space.write(place(round % 4, number), &[1]);
                }
            })
        });
        scope.spawn(|| {
            set_this_hart(2);
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                let number = round % 4;
                let both = start(0)..start(2);
                _ = spaces[number].protect(both.start, 2 * PAGES * KIB4, RW);
                spaces[number].unmap(both.start, 2 * PAGES * KIB4).unwrap();
                (0..2).for_each(|object| map(number, object));
                round += 1;
            }
        });
        let results = changes.map(|change| change.join());
        is_over.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
}

on_every_machine!(
    eight_address_spaces_are_flushed_with_one_request,
    tables_that_become_empty_take_no_request_of_their_own,
    twenty_address_spaces_take_a_request_for_each_eight,
    two_mappings_in_a_shard_take_a_request_each,
    mappings_in_several_shards_are_flushed_with_one_request,
    a_page_is_copied_with_one_request,
    harts_outside_flush_when_they_enter,
    nothing_is_locked_while_an_object_waits,
    objects_that_share_address_spaces_end,
);
