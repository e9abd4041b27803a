//! Operations over several shards, interrupt handlers amid operations, and whose turn it is.

use std::cell::Cell;
use std::rc::Rc;

use axalloc::fault::fail_from;
use memory_addr::{PhysAddr, VirtAddr, VirtAddrRange};
use page_table_multiarch::MappingFlags;

use super::*;
use crate::addr::{as_span, va_range};
use crate::aspace::write_guard::Unlocked;
use crate::backing::{Backend, PreallocatedFrames};
use crate::by_turns::{FourHarts, ON_WAIT, ROUND, as_hart, at_round};
use crate::locking::range_lock::RangeLock;
use crate::test_memory;
use crate::{AddrSpace, Fault, Grain};

/// What an entry of the root translates.
const TOP: usize = 512 << 30;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const PAGE: usize = 4096;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
const RO: MappingFlags = MappingFlags::READ;
/// A boundary between shards of 1 GiB.
const EDGE: usize = 2 * TOP;

fn space() -> AddrSpace<FourHarts> {
    test_memory::add_once();
    AddrSpace::new_empty(VirtAddr::from_usize(TOP), 3 * TOP).unwrap()
}

fn at(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

fn range(span: &Range<usize>) -> VirtAddrRange {
    va_range(span.start, span.end)
}

#[test]
fn a_shard_is_made_for_the_first_mapping_there() {
    let space = space();
    assert_eq!(space.fault(at(EDGE), RO), Err(Fault::Unmapped));
    assert_eq!(space.unmap(at(EDGE), PAGE), Ok(()));
    assert!(space.area_at(at(EDGE)).is_none());
    space.map_alloc(at(EDGE), PAGE, RW, false).unwrap();
    assert_eq!(space.fault(at(EDGE), RW), Ok(()));
    space.unmap(at(EDGE), PAGE).unwrap();
    assert_eq!(space.areas().count(), 0);
}

#[test]
fn shards_are_dropped_with_their_address_space() {
    test_memory::add_once();
    let before = test_memory::blocks();
    let space = space();
    for shard in [TOP, EDGE, EDGE + TOP] {
        space.map_alloc(at(shard), PAGE, RW, false).unwrap();
    }
    drop(space);
    assert_eq!(test_memory::blocks(), before);
}

#[test]
fn an_area_in_several_shards_is_one() {
    let space = space();
    let (start, size) = (EDGE - MIB, TOP + 2 * MIB);
    space.map_alloc(at(start), size, RW, false).unwrap();
    let whole = start..start + size;
    for addr in [start, EDGE - PAGE, EDGE, EDGE + TOP - 1, EDGE + TOP] {
        assert_eq!(as_span(space.area_at(at(addr)).unwrap().va_range()), whole);
    }
    let spans = || {
        space
            .areas()
            .map(|area| as_span(area.va_range()))
            .collect::<Vec<_>>()
    };
    assert_eq!(spans(), std::slice::from_ref(&whole));
    space.protect(at(EDGE), TOP, RO).unwrap();
    assert_eq!(
        spans(),
        [start..EDGE, EDGE..EDGE + TOP, EDGE + TOP..whole.end]
    );
    assert_eq!(space.fault(at(EDGE), RW), Err(Fault::Denied));
    space.protect(at(EDGE), TOP, RW).unwrap();
    assert_eq!(spans(), std::slice::from_ref(&whole));
    space.unmap(at(EDGE - PAGE), 2 * PAGE).unwrap();
    assert_eq!(spans(), [start..EDGE - PAGE, EDGE + PAGE..whole.end]);
}

#[test]
fn an_area_may_fill_all_shards() {
    let space = space();
    let (start, size) = (at(TOP), 3 * TOP);
    assert_eq!(space.map_alloc(start, size, RW, false), Ok(()));
    assert_eq!(space.protect(start, size, RO), Ok(()));
    assert_eq!(state(&space), [(TOP..4 * TOP, RO)]);
    assert_eq!(space.unmap(start, size), Ok(()));
    assert_eq!(state(&space), []);
}

#[test]
fn what_reaches_into_a_shard_that_was_never_made_is_not_protected() {
    let space = space();
    let start = at(EDGE - PAGE);
    space.map_alloc(start, PAGE, RW, false).unwrap();
    let protected = space.protect(start, 2 * PAGE, RO);
    assert_eq!(protected, Err(AxError::NotFound));
    assert_eq!(state(&space), [(EDGE - PAGE..EDGE, RW)]);
}

/// An operation in several shards may need some.
#[test]
fn an_operation_up_to_the_end_of_its_shard_needs_no_memory() {
    let space = space();
    let (start, size) = (at(EDGE - 8 * PAGE), 8 * PAGE);
    space.map_alloc(start, size, RW, true).unwrap();
    let armed = fail_from(1);
    // Until the shard has no room for areas left.
    let mut others = (0..).map(|number| at(TOP + 2 * number * PAGE));
    while space
        .map_alloc(others.next().unwrap(), PAGE, RW, false)
        .is_ok()
    {}
    let results = (space.protect(start, size, RO), space.unmap(start, size));
    drop(armed);
    assert_eq!(results, (Ok(()), Ok(())));
}

#[test]
fn free_addresses_are_found_across_a_boundary() {
    let space = space();
    let limit = VirtAddrRange::from_start_size(at(TOP), 3 * TOP);
    let find = |size| space.find_free_area(at(TOP), size, limit);
    assert_eq!(find(2 * TOP), Some(at(TOP)));
    space.map_alloc(at(TOP), TOP - MIB, RW, false).unwrap();
    space.map_alloc(at(EDGE + MIB), PAGE, RW, false).unwrap();
    assert_eq!(find(2 * MIB), Some(at(EDGE - MIB)));
    assert_eq!(find(2 * MIB + PAGE), Some(at(EDGE + MIB + PAGE)));
    assert_eq!(find(2 * TOP - MIB - PAGE), Some(at(EDGE + MIB + PAGE)));
    assert_eq!(find(2 * TOP - MIB), None);
}

/// The tables of each level, and the pages. Other tests run at the same time, so that frames
/// in use say nothing.
fn frames(space: &AddrSpace<FourHarts>) -> (Vec<usize>, usize) {
    let all = TOP..4 * TOP;
    let mut pages = 0;
    let mut reached = crate::page_table::VisitPosition::START;
    while space.visit_some(range(&all), &mut reached, 1, &mut |seen| {
        pages += seen.count();
        true
    }) {}
    (space.table().tables(all).to_vec(), pages)
}

/// What is mapped, with which rights.
fn state(space: &AddrSpace<FourHarts>) -> Vec<(Range<usize>, MappingFlags)> {
    space
        .areas()
        .map(|area| (as_span(area.va_range()), area.flags()))
        .collect()
}

#[test]
fn an_operation_in_several_shards_is_all_or_nothing() {
    let space = space();
    let start = at(EDGE - 3 * PAGE);
    space
        .map_alloc(at(EDGE + TOP - PAGE), 2 * PAGE, RO, true)
        .unwrap();
    let size = TOP + 6 * PAGE;
    type Change<'a> = (&'a str, &'a dyn Fn() -> AxResult, &'a dyn Fn());
    let changes: [Change; 5] = [
        (
            "lazy",
            &|| space.map_alloc(start, 6 * PAGE, RW, false),
            &|| space.unmap(start, 6 * PAGE).unwrap(),
        ),
        (
            "map",
            &|| space.map_alloc(start, 6 * PAGE, RW, true),
            &|| space.unmap(start, 6 * PAGE).unwrap(),
        ),
        (
            "map across what is mapped",
            &|| match space.map_alloc(start, size, RW, true) {
                Err(AxError::AlreadyExists) => Ok(()),
                other => other,
            },
            &|| {},
        ),
        (
            "linear",
            // SAFETY: nothing is copied through the mapping.
            &|| unsafe { space.map_linear(start, PhysAddr::from_usize(0), 6 * PAGE, RW) },
            &|| space.unmap(start, 6 * PAGE).unwrap(),
        ),
        (
            "protect",
            &|| {
                let end = at(EDGE + TOP - PAGE);
                space.protect(end, 2 * PAGE, RW)?;
                space.protect(end, 2 * PAGE, RO)
            },
            &|| {},
        ),
    ];
    for (name, change, undo) in changes {
        let before = (state(&space), frames(&space));
        for count in 1.. {
            let armed = fail_from(count);
            let result = change();
            if !armed.has_fired() {
                assert_eq!(result, Ok(()), "{name}");
                break;
            }
            assert_eq!(result, Err(AxError::NoMemory), "{name}: {count}");
            assert_eq!((state(&space), frames(&space)), before, "{name}: {count}");
        }
        undo();
        assert_eq!(state(&space), before.0, "{name}");
    }
}

#[test]
fn an_interrupt_handler_is_refused_what_its_hart_is_changing() {
    let space = space();
    let span = EDGE..EDGE + 4 * PAGE;
    space.map_alloc(at(EDGE), 8 * PAGE, RW, false).unwrap();
    let shard = space.shards.get(1).unwrap();
    let mut guard = WriteGuard::begun(&space, shard, range(&span)).unwrap();
    guard.lock_range();
    guard.unlocked(|_| {
        let busy = Err(AxError::ResourceBusy);
        assert_eq!(space.unmap(at(EDGE), PAGE), busy);
        assert_eq!(space.map_alloc(at(EDGE + 8 * PAGE), PAGE, RW, false), busy);
        let across = space.map_alloc(at(EDGE - PAGE), 2 * PAGE, RW, false);
        assert_eq!(across, busy, "over two shards");
        assert_eq!(space.fault(at(EDGE), RW), Err(Fault::Nested));
        // Beside it, and in other shards, a handler may do what it likes.
        assert_eq!(space.fault(at(EDGE + 4 * PAGE), RW), Ok(()));
        assert_eq!(space.map_alloc(at(TOP), PAGE, RW, false), Ok(()));
        assert_eq!(space.unmap(at(TOP), PAGE), Ok(()));
    });
    drop(guard);
    assert_eq!(space.fault(at(EDGE), RW), Ok(()));
}

/// If both waited, each would wait for the operation that the other's handler has interrupted.
#[test]
fn handlers_amid_operations_do_not_wait_for_each_other() {
    let space = space();
    space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
    space.map_alloc(at(EDGE), PAGE, RW, false).unwrap();
    let begin = |number: usize, span: Range<usize>| {
        let shard = space.shards.get(number).unwrap();
        let mut guard = WriteGuard::begun(&space, shard, range(&span)).unwrap();
        guard.lock_range();
        guard
    };
    let mut guard = begin(0, TOP..TOP + PAGE);
    guard.unlocked(|_| {
        as_hart(1, || {
            let mut guard = begin(1, EDGE..EDGE + PAGE);
            guard.unlocked(|_| {
                assert_eq!(space.fault(at(TOP), RW), Err(Fault::Nested));
                as_hart(0, || {
                    assert_eq!(space.fault(at(EDGE), RW), Err(Fault::Nested))
                });
            });
        });
        assert_eq!(space.fault(at(EDGE), RW), Ok(()), "no longer locked");
    });
}

/// The handler's fault would wait for hart 2, which may wait for hart 0.
#[test]
fn a_handler_does_not_wait_while_its_operation_is_in_the_queue() {
    let space = Rc::new(space());
    space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
    space.map_alloc(at(EDGE), PAGE, RW, false).unwrap();
    with_index_lock(&space, 0, |lock| lock.lock(2, va_range(TOP, TOP + PAGE)));
    with_index_lock(&space, 1, |lock| lock.lock(2, va_range(EDGE, EDGE + PAGE)));
    let there = space.clone();
    ON_WAIT.set(Some(Box::new(move || {
        assert_eq!(there.fault(at(EDGE), RW), Err(Fault::Nested));
        for number in [0, 1] {
            with_index_lock(&there, number, |lock| lock.unlock(2));
        }
    })));
    assert_eq!(space.unmap(at(TOP), PAGE), Ok(()));
    assert!(ON_WAIT.take().is_none(), "it has waited");
}

#[test]
fn an_operation_waits_for_those_that_asked_earlier_and_no_later_one() {
    let space = space();
    space.map_alloc(at(TOP), 8 * PAGE, RW, false).unwrap();
    let shard = space.shards.get(0).unwrap();
    let lock = &shard.lock;
    let pages = |first: usize, end: usize| va_range(TOP + first * PAGE, TOP + end * PAGE);
    lock.index().lock(0, &mut None);
    lock.lock(0, pages(0, 2));
    // Hart 1 waits for hart 0, and hart 2 for hart 1, but hart 3 for neither.
    assert!(!lock.is_turn(1, pages(1, 4)));
    lock.enqueue(1, pages(1, 4));
    assert!(!lock.is_turn(2, pages(3, 6)));
    lock.enqueue(2, pages(3, 6));
    assert!(lock.is_turn(3, pages(6, 8)));
    assert!(!lock.is_turn(3, pages(5, 8)), "it asked later");
    lock.unlock(0);
    assert!(lock.is_turn(1, pages(1, 4)));
    assert!(!lock.is_turn(2, pages(3, 6)));
    assert!(!lock.is_turn(0, pages(0, 2)), "it asks again");
    lock.lock(1, pages(1, 4));
    lock.dequeue(1);
    assert!(!lock.is_turn(2, pages(3, 6)));
    lock.unlock(1);
    assert!(lock.is_turn(2, pages(3, 6)));
    lock.dequeue(2);
    assert!(lock.is_idle());
    lock.index().unlock();
}

#[test]
fn a_fault_that_cannot_wait_is_refused_where_another_hart_is_changing_something() {
    let space = space();
    space.map_alloc(at(EDGE), 8 * PAGE, RW, false).unwrap();
    space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
    let shard = space.shards.get(1).unwrap();
    let mut guard = WriteGuard::begun(&space, shard, range(&(EDGE..EDGE + PAGE))).unwrap();
    guard.lock_range();
    guard.unlocked(|_| {
        as_hart(1, || {
            let fault = space.fault_slot(at(TOP));
            assert_eq!(space.fault(at(EDGE), RW), Err(Fault::Nested), "in a fault");
            drop(fault);
            let areas = space.read_areas(shard);
            let fault = space.fault(at(EDGE), RW);
            assert_eq!(fault, Err(Fault::Nested), "with the index lock held");
            drop(areas);
        });
    });
    drop(guard);
    assert_eq!(as_hart(1, || space.fault(at(EDGE), RW)), Ok(()));
}

/// An address space that is never dropped, with 4 MiB around `EDGE` that come as large pages.
fn large_pages() -> &'static AddrSpace<FourHarts> {
    let space = Box::leak(Box::new(space()));
    space
        .map_alloc_with(at(EDGE - 2 * MIB), 4 * MIB, RW, false, Grain::Large)
        .unwrap();
    space
}

/// Begins a page fault of hart 1, which maps the large page at `addr` when hart 0 next waits.
/// Returns whether it has ended.
fn begin_fault(space: &'static AddrSpace<FourHarts>, addr: usize) -> Rc<Cell<bool>> {
    let slot = space.shards.at(addr).unwrap().lock.take_slot(1, at(addr));
    let ended = Rc::new(Cell::new(false));
    let sets = ended.clone();
    ON_WAIT.set(Some(Box::new(move || {
        let area = space.area_at(at(addr)).unwrap();
        let mut frames = PreallocatedFrames::empty();
        frames.allocate::<FourHarts>(Grain::Large);
        let fault = Backend::fault_in::<FourHarts>(&area, space.table(), at(addr), &mut frames);
        assert!(matches!(fault, Ok(None)));
        drop(slot);
        sets.set(true);
    })));
    ended
}

/// The fault has begun before the range is locked.
#[test]
fn a_large_page_that_comes_to_an_end_of_a_range_is_locked_with_it() {
    let space = large_pages();
    let ended = begin_fault(space, EDGE);
    let shard = space.shards.get(1).unwrap();
    let span = EDGE + PAGE..EDGE + 2 * PAGE;
    let mut guard = WriteGuard::begun(space, shard, range(&span)).unwrap();
    guard.lock_range();
    assert!(ended.get());
    let block = EDGE..EDGE + 2 * MIB;
    guard.unlocked(|unlocked| assert_eq!(unlocked.exclusive(), block));
    drop(guard);
    space.unmap(at(EDGE - 2 * MIB), 4 * MIB).unwrap();
}

#[test]
fn a_large_page_that_comes_to_an_end_of_a_range_in_two_shards_is_locked_with_it() {
    for (page, span) in [
        (EDGE - 2 * MIB, EDGE - PAGE..EDGE + 2 * MIB),
        (EDGE, EDGE - 2 * MIB..EDGE + PAGE),
    ] {
        let space = large_pages();
        let ended = begin_fault(space, page);
        let guards = space.lock_shards(0..2, range(&span)).unwrap();
        assert!(ended.get());
        let locked = [0, 1].map(|index| Unlocked::new(&guards[index]).exclusive());
        assert_eq!(locked, [EDGE - 2 * MIB..EDGE, EDGE..EDGE + 2 * MIB]);
        drop(guards);
        space.unmap(at(EDGE - 2 * MIB), 4 * MIB).unwrap();
    }
}

/// An operation that has freed the index lock can add its areas afterwards, whatever others
/// have added meanwhile, and without memory. With some of these numbers of areas, the leaf of
/// the tree that the operation changes is full.
#[test]
fn an_operation_keeps_room_for_its_areas() {
    const AREAS: usize = 100;
    for (number, more) in (40..56).flat_map(|number| (0..16).map(move |more| (number, more))) {
        let middle = 4 * number;
        let space = space();
        let page = |number: usize| at(TOP + number * PAGE);
        let map = |number: usize| space.map_alloc(page(number), PAGE, RW, false);
        let places = (0..AREAS).map(|number| 4 * number);
        places
            .filter(|place| *place != middle)
            .for_each(|place| map(place).unwrap());
        space.map_alloc(page(middle), 3 * PAGE, RW, false).unwrap();
        (0..more).for_each(|number| map(middle - 2 - 4 * number).unwrap());
        let span = page(middle + 1).as_usize()..page(middle + 2).as_usize();
        let mut guard =
            WriteGuard::begun(&space, space.shards.get(0).unwrap(), range(&span)).unwrap();
        guard.lock_range();
        guard.reserve_cut(range(&span)).unwrap();
        let mut others = 0;
        let armed = guard.unlocked(|_| {
            let armed = fail_from(1);
            let mut add = || as_hart(1, || map(4 * AREAS + 2 * others)).map(|()| others += 1);
            while add().is_ok() {}
            armed
        });
        guard.split_at_ends(range(&span));
        drop(armed);
        drop(guard);
        assert_eq!(space.areas().count(), AREAS + more + others + 2);
    }
}

/// Does `work` as hart 2, which finds the index lock free.
fn with_index_lock<R>(
    space: &AddrSpace<FourHarts>,
    number: usize,
    work: impl Fn(&RangeLock<FourHarts>) -> R,
) {
    let shard = space.shards.get(number).unwrap();
    assert!(shard.lock.index().try_lock(2), "index lock {number}");
    work(&shard.lock);
    shard.lock.index().unlock();
}

#[test]
fn a_fault_and_an_operation_that_wait_are_in_the_queue() {
    let waits: [fn(&AddrSpace<FourHarts>); 2] = [
        |space| assert_eq!(space.fault(at(TOP), RW), Ok(())),
        |space| assert_eq!(space.unmap(at(TOP), PAGE), Ok(())),
    ];
    for waits in waits {
        let space = Rc::new(space());
        space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
        with_index_lock(&space, 0, |lock| lock.lock(2, va_range(TOP, TOP + PAGE)));
        let there = space.clone();
        at_round(3, move || {
            assert_eq!(ROUND.get(), 3);
            with_index_lock(&there, 0, |lock| {
                assert!(lock.is_busy(0), "it is in the queue");
                lock.unlock(2);
            });
        });
        waits(&space);
        assert!(ON_WAIT.take().is_none(), "it has waited");
        assert!(space.shards.get(0).unwrap().lock.is_idle());
    }
}

#[test]
fn an_operation_over_two_shards_waits_with_both_index_locks_free() {
    let space = Rc::new(space());
    let pages = (at(EDGE - PAGE), 2 * PAGE);
    space.map_alloc(pages.0, pages.1, RW, false).unwrap();
    let lock =
        |space: &AddrSpace<FourHarts>, number: usize, work: &dyn Fn(&RangeLock<FourHarts>)| {
            let shard = space.shards.get(number).unwrap();
            assert!(shard.lock.index().try_lock(2), "index lock {number}");
            work(&shard.lock);
            shard.lock.index().unlock();
        };
    lock(&space, 1, &|lock| lock.lock(2, va_range(EDGE, EDGE + PAGE)));
    let there = space.clone();
    ON_WAIT.set(Some(Box::new(move || {
        lock(&there, 0, &|lock| {
            assert!(lock.is_busy(0), "queued in both")
        });
        lock(&there, 1, &|lock| {
            assert!(lock.is_busy(0), "queued in both")
        });
        lock(&there, 1, &|lock| lock.unlock(2));
    })));
    space.unmap(pages.0, pages.1).unwrap();
    assert!(ON_WAIT.take().is_none(), "it has waited");
    assert_eq!(space.areas().count(), 0);
    let idle = |number| space.shards.get(number).unwrap().lock.is_idle();
    assert!(idle(0) && idle(1));
}

/// While an operation over two shards waits, a large page comes to an end of its span. Another
/// hart has asked for some of that page, later.
#[test]
fn an_operation_over_two_shards_keeps_its_place_when_it_finds_a_large_page() {
    let space = Rc::new(space());
    let block = EDGE - 2 * MIB;
    space
        .map_alloc_with(at(block), 2 * MIB, RW, false, Grain::Large)
        .unwrap();
    space.map_alloc(at(EDGE), PAGE, RW, false).unwrap();
    with_index_lock(&space, 1, |lock| lock.lock(2, va_range(EDGE, EDGE + PAGE)));
    let there = space.clone();
    ON_WAIT.set(Some(Box::new(move || {
        assert_eq!(as_hart(1, || there.fault(at(block), RW)), Ok(()));
        with_index_lock(&there, 0, |lock| {
            lock.enqueue(1, va_range(block, block + PAGE))
        });
        with_index_lock(&there, 1, |lock| lock.unlock(2));
    })));
    assert_eq!(space.protect(at(EDGE - PAGE), 2 * PAGE, RO), Ok(()));
    assert!(ON_WAIT.take().is_none(), "it has waited");
    with_index_lock(&space, 0, |lock| lock.dequeue(1));
    let idle = |number| space.shards.get(number).unwrap().lock.is_idle();
    assert!(idle(0) && idle(1));
}

#[test]
fn tables_in_which_another_hart_works_are_left_to_it() {
    let space = space();
    space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
    let others = va_range(TOP + 10 * PAGE, TOP + 20 * PAGE);
    with_index_lock(&space, 0, |lock| lock.lock(2, others));
    let shard = space.shards.get(0).unwrap();
    let mut guard = WriteGuard::begun(&space, shard, range(&(TOP..TOP + PAGE))).unwrap();
    guard.lock_range_and_tables();
    guard.unlocked(|unlocked| assert!(unlocked.exclusive().end <= others.start.as_usize()));
    drop(guard);
    with_index_lock(&space, 0, |lock| lock.unlock(2));
    let mut guard = WriteGuard::begun(&space, shard, range(&(TOP..TOP + PAGE))).unwrap();
    guard.lock_range_and_tables();
    guard.unlocked(|unlocked| {
        assert!(
            unlocked.exclusive().end > others.end.as_usize(),
            "no hart works there"
        )
    });
}

#[test]
fn an_empty_table_in_which_another_hart_works_is_left_to_it() {
    let space = space();
    let beside = TOP + 10 * PAGE;
    let tables = || space.table().tables(TOP..TOP + 2 * MIB)[0];
    for start in [TOP, beside] {
        space.map_alloc(at(start), PAGE, RW, false).unwrap();
    }
    assert_eq!(space.fault(at(TOP), RW), Ok(()));
    let others = va_range(beside, beside + PAGE);
    with_index_lock(&space, 0, |lock| lock.lock(2, others));
    space.unmap(at(TOP), PAGE).unwrap();
    assert_eq!(tables(), 1, "it translates what the other hart changes");
    with_index_lock(&space, 0, |lock| lock.unlock(2));
    space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
    space.unmap(at(TOP), PAGE).unwrap();
    assert_eq!(tables(), 0, "no hart works there");
}

/// Around the page are others at different distances: areas, or what other harts have locked.
#[test]
fn a_range_is_locked_with_the_free_addresses_in_its_tables() {
    let page = EDGE + 256 * GIB + GIB / 2 + MIB;
    let sizes = [PAGE, 2 * MIB, GIB, TOP];
    let distances = [64 * PAGE, 4 * MIB, 2 * GIB, 2 * TOP];
    for (below, above, are_areas) in distances.into_iter().flat_map(|below| {
        let pairs = distances.into_iter().map(move |above| (below, above));
        pairs.flat_map(|(below, above)| [(below, above, true), (below, above, false)])
    }) {
        let space = space();
        space.map_alloc(at(page), PAGE, RW, false).unwrap();
        let others = [page - below, page + above];
        let inside = |addr: &usize| (EDGE..EDGE + TOP).contains(addr);
        for (hart, other) in [2, 3]
            .into_iter()
            .zip(others)
            .filter(|(_, addr)| inside(addr))
        {
            match are_areas {
                true => space.map_alloc(at(other), PAGE, RW, false).unwrap(),
                false => with_index_lock(&space, 1, |lock| {
                    lock.lock(hart, va_range(other, other + PAGE));
                }),
            }
        }
        let mut guard = WriteGuard::begun(
            &space,
            space.shards.get(1).unwrap(),
            va_range(page, page + PAGE),
        )
        .unwrap();
        guard.lock_range_and_tables();
        let firsts = sizes.map(|size| page & !(size - 1));
        let ends = sizes.map(|size| (page | (size - 1)) + 1);
        let first = firsts.into_iter().rfind(|first| *first > others[0]);
        let end = ends.into_iter().rfind(|end| *end <= others[1]);
        guard.unlocked(|unlocked| {
            let locked = unlocked.exclusive();
            assert_eq!(
                (Some(locked.start), Some(locked.end)),
                (first, end),
                "{others:x?}"
            );
        });
        drop(guard);
        with_index_lock(&space, 1, |lock| [2, 3].map(|hart| lock.unlock(hart)));
    }
}

#[test]
fn the_last_operation_in_a_table_frees_it() {
    let space = space();
    let tables = || space.table().tables(TOP..4 * TOP);
    let before = tables();
    let other = TOP + 10 * PAGE;
    space.map_alloc(at(TOP), PAGE, RW, true).unwrap();
    space.map_alloc(at(other), PAGE, RW, false).unwrap();
    with_index_lock(&space, 0, |lock| {
        lock.lock(2, va_range(other, other + PAGE))
    });
    space.unmap(at(TOP), PAGE).unwrap();
    assert_ne!(tables(), before, "another hart works in the table");
    with_index_lock(&space, 0, |lock| lock.unlock(2));
    space.unmap(at(other), PAGE).unwrap();
    assert_eq!(tables(), before);
}

/// Before its turn, another operation may free the tables on the way to the page.
#[test]
fn an_operation_over_shards_looks_for_large_pages_in_its_turn_only() {
    let space = large_pages();
    assert_eq!(space.fault(at(EDGE - 2 * MIB), RW), Ok(()));
    with_index_lock(space, 1, |lock| lock.lock(1, va_range(EDGE, EDGE + PAGE)));
    ON_WAIT.set(Some(Box::new(|| {
        let is_free = |pages: Range<usize>| {
            let lock = &space.shards.get(0).unwrap().lock;
            lock.is_uncontended(3, range(&pages))
        };
        assert!(!is_free(EDGE - MIB..EDGE), "hart 0 waits for its range");
        assert!(is_free(EDGE - 2 * MIB..EDGE - MIB), "and for no more");
        with_index_lock(space, 1, |lock| lock.unlock(1));
    })));
    assert_eq!(space.protect(at(EDGE - MIB), MIB + PAGE, RO), Ok(()));
    assert!(ON_WAIT.take().is_none(), "it has waited");
}

/// The fault would wait for an operation that may wait for the index lock.
#[test]
fn a_fault_with_the_index_lock_of_another_shard_does_not_wait() {
    let space = space();
    for start in [TOP, EDGE] {
        space.map_alloc(at(start), PAGE, RW, false).unwrap();
    }
    with_index_lock(&space, 0, |lock| lock.lock(1, va_range(TOP, TOP + PAGE)));
    let other = space.shards.get(1).unwrap().lock.index();
    assert!(other.try_lock(0));
    assert_eq!(space.fault(at(TOP), RW), Err(Fault::Nested));
    other.unlock();
    with_index_lock(&space, 0, |lock| lock.unlock(1));
    assert_eq!(space.fault(at(TOP), RW), Ok(()));
}

/// The areas may be in the middle of a change.
#[test]
fn a_fault_with_the_index_lock_held_cannot_say_that_nothing_is_mapped() {
    let space = space();
    space.map_alloc(at(TOP), PAGE, RW, false).unwrap();
    let index = space.shards.get(0).unwrap().lock.index();
    assert!(index.try_lock(0));
    assert_eq!(space.fault(at(TOP + PAGE), RW), Err(Fault::Nested));
    index.unlock();
    assert_eq!(space.fault(at(TOP + PAGE), RW), Err(Fault::Unmapped));
}

#[test]
fn a_free_address_is_aligned_also_where_nothing_was_ever_mapped() {
    let space = space();
    let limit = range(&(TOP..4 * TOP));
    let found = space.find_free_area(at(EDGE + 1), PAGE, limit);
    assert_eq!(found, Some(at(EDGE + PAGE)));
}

/// The area beside the page has no pages, so an unmap of the page empties the tables of both.
#[test]
fn each_hart_frees_the_tables_that_it_empties() {
    let space = space();
    let page = at(EDGE + GIB);
    space.map_alloc(page + PAGE, PAGE, RW, false).unwrap();
    let tables = || space.table().tables(TOP..4 * TOP);
    let before = tables();
    for hart in 0..4 {
        as_hart(hart, || {
            space.map_alloc(page, PAGE, RW, true).unwrap();
            space.unmap(page, PAGE).unwrap();
        });
        assert_eq!(tables(), before, "hart {hart}");
    }
}
