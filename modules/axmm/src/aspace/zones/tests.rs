//! Zones as one thread sees them that is several harts by turns.

use std::cell::Cell;
use std::ops::Range;
use std::vec::Vec;

use axalloc::fault::fail_from;
use axerrno::AxError;
use memory_addr::{VirtAddr, VirtAddrRange};
use page_table_multiarch::MappingFlags;

use super::*;
use crate::machine::ThisMachine;
use crate::test_memory;

const BASE: usize = 1 << 40;
const PAGE: usize = 4096;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

std::thread_local! {
    static HART: Cell<usize> = const { Cell::new(0) };
}

/// A machine of two harts.
struct Two;

// SAFETY: one thread is all harts.
unsafe impl Machine for Two {
    type Meta = <ThisMachine as Machine>::Meta;
    type Pte = <ThisMachine as Machine>::Pte;
    type Pin = ();

    const PATIENCE: usize = 3;

    fn largest_page() -> usize {
        1 << 30
    }

    fn publish_entries() {}

    fn page_mark(_: bool) -> u64 {
        0
    }

    fn forget(_: u64, _: Range<usize>) {}

    fn forget_here(_: Range<usize>) {}

    fn pin() {}

    fn harts() -> usize {
        2
    }

    fn hart() -> usize {
        HART.get()
    }

    fn relax(turn: usize) {
        assert!(turn < 1000, "nobody is there to be waited for");
    }
}

fn space() -> AddrSpace<Two> {
    test_memory::give();
    AddrSpace::new_empty(BASE.into(), 1 << 40).unwrap()
}

fn at(page: usize) -> VirtAddr {
    VirtAddr::from_usize(BASE + page * PAGE)
}

fn map(space: &AddrSpace<Two>, pages: Range<usize>) {
    let size = pages.len() * PAGE;
    space.map_alloc(at(pages.start), size, RW, false).unwrap();
}

/// Cuts between the pages `low` and `high`.
fn cut(space: &AddrSpace<Two>, low: usize, high: usize) {
    let bounds = |page| (at(page).as_usize(), at(page).as_usize() + PAGE - 1);
    space.cut_between(bounds(low), bounds(high));
}

fn zones(space: &AddrSpace<Two>) -> Vec<Bounds> {
    let directory = space.zones.directory();
    let all = directory.into_iter().flat_map(Directory::iter);
    all.map(|zone| zone.limits.get()).collect()
}

fn areas(space: &AddrSpace<Two>) -> Vec<Range<usize>> {
    let page = |addr: usize| (addr - BASE) / PAGE;
    let areas = space.areas().map(|area| area.span());
    areas.map(|span| page(span.start)..page(span.end)).collect()
}

fn touch(space: &AddrSpace<Two>, page: usize) -> bool {
    space.handle_page_fault(at(page), MappingFlags::WRITE)
}

/// Areas of 2 pages, every 1024.
fn some(count: usize) -> (AddrSpace<Two>, Vec<Range<usize>>) {
    let space = space();
    let spans: Vec<_> = (0..count).map(|n| n * 1024..n * 1024 + 2).collect();
    for span in &spans {
        map(&space, span.clone());
        assert!(touch(&space, span.start));
    }
    (space, spans)
}

/// More areas in both halves of `some(40)` than either has room for.
fn many_more(space: &AddrSpace<Two>) {
    for page in (4..404).step_by(2) {
        for start in [1024 * 10 + page, 1024 * 30 + page] {
            map(space, start..start + 1);
        }
    }
}

#[test]
fn what_was_there_is_there_on_both_sides() {
    let (space, spans) = some(20);
    for low in [10, 4, 15, 12] {
        cut(&space, low * 1024 + 1, (low + 1) * 1024);
        assert_eq!(areas(&space), spans);
        for span in &spans {
            assert_eq!(
                space.area_at(at(span.start)).map(|area| area.span().start),
                Some(at(span.start).as_usize())
            );
            assert!(touch(&space, span.start) && touch(&space, span.start + 1));
            assert!(!touch(&space, span.start + 2));
        }
    }
    assert_eq!(zones(&space).len(), 5);
}

/// Both harts work below and above in turns, whatever the zones are.
#[test]
fn operations_make_one_of_the_zones_that_they_reach() {
    let (space, mut spans) = some(20);
    cut(&space, 1024 * 3, 1024 * 4);
    cut(&space, 1024 * 11, 1024 * 12);
    cut(&space, 1024 * 15, 1024 * 16);
    assert_eq!(zones(&space).len(), 4);
    let rights = space.protect(at(1024 * 7), 2 * PAGE, MappingFlags::READ);
    assert_eq!((rights, zones(&space).len()), (Ok(()), 4));
    assert_eq!(space.unmap(at(1024 * 10), 1024 * 7 * PAGE), Ok(()));
    spans.drain(10..17);
    assert_eq!((areas(&space), zones(&space).len()), (spans, 2));
    assert!(!touch(&space, 1024 * 11) && touch(&space, 1024 * 17));
    assert!(!touch(&space, 1024 * 7), "it is read-only");
    assert_eq!(space.clear(), Ok(()));
    assert_eq!((areas(&space), zones(&space)), (Vec::new(), vec![ALL]));
}

#[test]
fn what_is_behind_a_boundary_is_one_with_what_is_before_it_again() {
    let (space, _) = some(2);
    cut(&space, 1, 1024);
    map(&space, 512..1024);
    map(&space, 2..512);
    assert_eq!(zones(&space).len(), 2);
    let apart = areas(&space).len();
    space.unmap(at(0), PAGE).unwrap();
    assert_eq!(areas(&space).len(), apart, "it has its own zone");
    space.protect(at(1), 1025 * PAGE, RW).unwrap();
    assert_eq!(zones(&space).len(), 1);
    assert_eq!(areas(&space).as_slice(), core::slice::from_ref(&(1..1026)));
}

#[test]
fn free_addresses_are_found_across_zones() {
    let (space, _) = some(4);
    let plain = some(4).0;
    cut(&space, 1024, 2048);
    cut(&space, 2048, 3072);
    assert_eq!(zones(&space).len(), 3);
    for (hint, limit) in [
        (0, 5000),
        (1, 4000),
        (1500, 3500),
        (2000, 3072),
        (2049, 9000),
    ] {
        for count in [1, 2, 500, 1021, 1022, 1023, 2000] {
            let limit = VirtAddrRange::new(at(0), at(limit));
            let [found, wanted] =
                [&space, &plain].map(|space| space.find_free_area(at(hint), count * PAGE, limit));
            assert_eq!(found, wanted, "{count} pages from {hint} on");
        }
    }
}

#[test]
fn without_memory_zones_stay_as_they_are() {
    let (space, spans) = some(40);
    for nth in 1.. {
        let armed = fail_from(nth);
        cut(&space, 1024 * 19, 1024 * 20);
        let fired = armed.has_fired();
        assert_eq!(areas(&space), spans);
        assert!(spans.iter().all(|span| touch(&space, span.start)));
        if !fired {
            break;
        }
        assert!(zones(&space).len() < 2);
    }
    assert_eq!(zones(&space).len(), 2);
    many_more(&space);
    let now = areas(&space);
    let mut refused = 0;
    for nth in 1.. {
        let armed = fail_from(nth);
        let done = space.protect(at(0), PAGE * 2, RW);
        assert_eq!(done, Ok(()));
        let done = space.unmap(at(1024 * 19 + 1), PAGE * 1024);
        let fired = armed.has_fired();
        if done.is_ok() {
            assert!(!fired || refused > 0);
            break;
        }
        refused += 1;
        assert_eq!(done, Err(AxError::NoMemory));
        assert_eq!(areas(&space), now);
    }
    assert_eq!(zones(&space).len(), 1);
    assert!(refused > 0, "there was memory for all");
}

#[test]
fn without_memory_all_can_be_cleared() {
    let (space, _) = some(40);
    cut(&space, 1024 * 19, 1024 * 20);
    many_more(&space);
    let armed = fail_from(1);
    assert_eq!(space.clear(), Ok(()));
    drop(armed);
    assert!(areas(&space).is_empty());
}

#[test]
fn there_are_so_many_zones_and_no_more() {
    let (space, spans) = some(3 * MOST);
    for n in 1..3 * MOST {
        cut(&space, (n - 1) * 1024 + 1, n * 1024);
    }
    assert_eq!(zones(&space).len(), MOST);
    assert_eq!(areas(&space), spans);
    let all = zones(&space);
    assert!(all.windows(2).all(|two| two[0].1 + 1 == two[1].0));
    assert_eq!((all[0].0, all[MOST - 1].1), ALL);
    space.clear().unwrap();
    assert_eq!(zones(&space), [ALL]);
    for n in 0..4 {
        map(&space, n * 1024..n * 1024 + 2);
    }
    cut(&space, 1025, 2048);
    assert_eq!((zones(&space).len(), areas(&space).len()), (2, 4));
}

#[test]
fn a_zone_without_areas_makes_room_for_another() {
    let (space, _) = some(MOST + 1);
    for n in 1..MOST {
        cut(&space, (n - 1) * 1024 + 1, n * 1024);
    }
    space.unmap(at(5 * 1024), 2 * PAGE).unwrap();
    let before = zones(&space);
    assert_eq!(before.len(), MOST);
    for _ in 0..MOST {
        cut(&space, (MOST - 1) * 1024 + 1, MOST * 1024);
    }
    let after = zones(&space);
    assert_eq!(after.len(), MOST);
    assert_eq!(after[MOST - 1].0, at(MOST * 1024).as_usize());
    let gone = before.iter().filter(|zone| !after.contains(zone));
    assert_eq!(gone.count(), 3, "two are one, and one is two");
}

#[test]
fn no_zone_is_cut_through_an_area_or_a_table() {
    let space = space();
    map(&space, 0..4096);
    cut(&space, 0, 4095);
    assert_eq!(zones(&space), [ALL]);
    map(&space, 8192..8193);
    map(&space, 8200..8201);
    cut(&space, 8192, 8200);
    assert_eq!(zones(&space), [ALL], "they share a table");
    map(&space, 4 << 18..(4 << 18) + 1);
    cut(&space, 8200, 4 << 18);
    let boundary = at(4 << 18).as_usize();
    assert_eq!(zones(&space), [(0, boundary - 1), (boundary, usize::MAX)]);
}

/// What another has changed last may be just half of what it changes now.
#[test]
fn a_zone_is_not_cut_outside() {
    let (space, spans) = some(8);
    cut(&space, 1024 * 3, 1024 * 4);
    let before = zones(&space);
    let [below, above] = [2, 6].map(|n| at(1024 * n).as_usize());
    space.cut_between((above, below), (above, above + PAGE - 1));
    space.cut_between((below, below + PAGE - 1), (below + PAGE, above));
    for (first, last) in zones(&space) {
        assert!(first < last);
    }
    assert_eq!(zones(&space)[0].1 + 1, before[1].0);
    assert!(spans.iter().all(|span| touch(&space, span.start)));
    assert_eq!(areas(&space), spans);
}

#[test]
fn a_zone_that_is_often_without_areas_goes_and_so_do_tables_on_its_boundary() {
    let (space, _) = some(2);
    let tables = || -> usize {
        let all = BASE..BASE + (1 << 40);
        space.table().tables(all).iter().sum()
    };
    let rest = |page: usize| space.unmap(at(page), 2 * PAGE).unwrap();
    let again = |page: usize| {
        map(&space, page..page + 2);
        assert!(touch(&space, page));
    };
    rest(1024);
    let one = tables();
    again(1024);
    assert!(tables() > one);
    cut(&space, 1, 1024);
    for _ in 1..Two::PATIENCE {
        assert_eq!(zones(&space).len(), 2);
        rest(1024);
        assert_eq!(zones(&space).len(), 2, "it may be needed at once");
        again(1024);
    }
    rest(1024);
    assert_eq!((zones(&space), tables()), (vec![ALL], one));
    again(1024);
    cut(&space, 1, 1024);
    rest(0);
    rest(1024);
    assert_eq!(zones(&space).len(), 2);
    space.join_zones().unwrap();
    assert_eq!(
        (zones(&space), tables()),
        (vec![ALL], 1),
        "the root is left"
    );
}

/// Whoever it would wait for may wait for what it brings already.
#[test]
fn who_brings_a_page_waits_in_no_other_zone() {
    let (space, _) = some(2);
    cut(&space, 1, 1024);
    let span = at(1024).as_usize()..at(1025).as_usize();
    HART.set(1);
    let mut edit = space.edit(&span);
    edit.claim(&span);
    HART.set(0);
    let _outer = space.bringing(at(0)).unwrap();
    assert!(space.bringing(at(1024)).is_none());
    HART.set(1);
    drop(edit);
}

/// Who takes pages away waits for it still.
#[test]
#[should_panic(expected = "nobody is there to be waited for")]
fn a_fault_while_a_page_is_brought_does_not_end_that() {
    let (space, _) = some(1);
    let _outer = space.bringing(at(0));
    assert!(space.bringing(at(0)).is_none());
    HART.set(1);
    let _ = space.unmap(at(0), PAGE);
}
