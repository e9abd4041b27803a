//! Code that was written is cleaned, and every hart fetches anew, before it can be executed.
//! `stale_tlb.rs` simulates what harts then execute.

mod support;

use axmm::{AddrSpace, Grain, MappingFlags};

use support::code::{Event, events};
use support::{
    EXECUTE, GIB, KIB4, MIB2, MapPhysical, RAM, RO, RW, RX, TestMachine, alone, phys, virt,
};

fn space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty_user(virt(0), GIB).unwrap()
}

/// Returns the requests of `operation` to the machine.
fn requests_of<M: TestMachine>(
    aspace: &AddrSpace<M>,
    operation: impl FnOnce(&AddrSpace<M>),
) -> Vec<Event> {
    let root = aspace.page_table_root().as_usize();
    events((root, M::walk_from), || operation(aspace))
}

/// Asserts that `found` cleans this number of bytes, and then makes harts fetch anew once,
/// while `mapped` bytes are executable.
fn assert_synced(found: &[Event], bytes: usize, mapped: usize) {
    let cleaned = found.iter().map(|event| match event {
        Event::Cleaned(range) => range.len(),
        Event::Synced(_) => 0,
    });
    assert_eq!(cleaned.sum::<usize>(), bytes, "{found:x?}");
    let syncs = found
        .iter()
        .filter(|event| matches!(event, Event::Synced(_)));
    assert_eq!(syncs.count(), 1, "{found:x?}");
    assert_eq!(found.last(), Some(&Event::Synced(mapped)));
}

fn protect_makes_harts_fetch_new_code<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let start = virt(16 * KIB4);
    aspace.map_alloc(start, 8 * KIB4, RW, false).unwrap();
    aspace.write(start, &[1; 2 * KIB4 + 1]).unwrap();
    let found = requests_of(&aspace, |aspace| {
        aspace.protect(start, 8 * KIB4, RX).unwrap()
    });
    assert_synced(&found, 3 * KIB4, 3 * KIB4);
    // A part of a large page becomes executable.
    let large = virt(2 * MIB2);
    aspace.map_physical(large, phys(8 * GIB), MIB2, RW).unwrap();
    let found = requests_of(&aspace, |aspace| {
        aspace.protect(large + KIB4, 5 * KIB4, RX).unwrap()
    });
    assert_synced(&found, 5 * KIB4, 8 * KIB4);
    let paddr = 8 * GIB + KIB4;
    assert_eq!(found[0], Event::Cleaned(paddr..paddr + 5 * KIB4));
}

fn map_makes_harts_fetch_new_code<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let found = requests_of(&aspace, |aspace| {
        aspace.map_alloc(virt(KIB4), 3 * KIB4, RX, true).unwrap()
    });
    assert_synced(&found, 3 * KIB4, 3 * KIB4);
    let found = requests_of(&aspace, |aspace| {
        aspace
            .map_physical(virt(4 * KIB4), phys(8 * GIB), KIB4, RX)
            .unwrap();
    });
    assert_synced(&found, KIB4, 4 * KIB4);
}

/// Other harts may execute a page as soon as it is mapped.
fn a_fault_makes_harts_fetch_new_code_before_the_page_is_mapped<M: TestMachine>() {
    let _alone = alone();
    for (grain, bytes) in [
        (Grain::Page, KIB4),
        (Grain::Around(4), 4 * KIB4),
        (Grain::Large, MIB2),
    ] {
        let aspace = space::<M>();
        let start = virt(2 * MIB2);
        aspace
            .map_alloc_with(start, MIB2, RX, false, grain)
            .unwrap();
        for (access, page) in [(EXECUTE, 0), (RO, 400)] {
            let pages = M::walk(&aspace).unwrap().pages;
            let before = pages.iter().map(|page| page.size).sum();
            let found = requests_of(&aspace, |aspace| {
                assert!(aspace.handle_page_fault(start + page * KIB4, access));
            });
            let is_mapped = grain == Grain::Large && page > 0;
            match is_mapped {
                true => assert_eq!(found, []),
                false => assert_synced(&found, bytes, before),
            }
        }
    }
}

fn writing_to_executable_pages_makes_harts_fetch_new_code<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let start = virt(KIB4);
    aspace
        .map_alloc(start, 4 * KIB4, RW | EXECUTE, true)
        .unwrap();
    let found = requests_of(&aspace, |aspace| {
        aspace.write(start + 5, &[1; 100]).unwrap()
    });
    assert_synced(&found, 100, 4 * KIB4);
    aspace.unmap(start + KIB4, KIB4).unwrap();
    let found = requests_of(&aspace, |aspace| aspace.sync_icache(start + 7, 3 * KIB4));
    assert_synced(&found, 3 * KIB4, 3 * KIB4);
}

fn pages_that_are_not_executable_are_not_cleaned<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let found = requests_of(&aspace, |aspace| {
        let start = virt(KIB4);
        aspace.map_alloc(start, 4 * KIB4, RW, false).unwrap();
        assert!(aspace.handle_page_fault(start, RW));
        aspace.write(start, &[1; 2 * KIB4]).unwrap();
        aspace.protect(start, 4 * KIB4, RO).unwrap();
        aspace.unmap(start, 4 * KIB4).unwrap();
        aspace.map_alloc(start, 4 * KIB4, RX, false).unwrap();
        assert!(!aspace.handle_page_fault(start, MappingFlags::WRITE));
        aspace
            .map_physical(virt(MIB2), phys(RAM.start), KIB4, RW)
            .unwrap();
    });
    assert_eq!(found, []);
}

on_every_machine!(
    protect_makes_harts_fetch_new_code,
    map_makes_harts_fetch_new_code,
    a_fault_makes_harts_fetch_new_code_before_the_page_is_mapped,
    writing_to_executable_pages_makes_harts_fetch_new_code,
    pages_that_are_not_executable_are_not_cleaned,
);
