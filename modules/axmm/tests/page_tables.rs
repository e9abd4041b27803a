//! Page tables after operations, as hardware reads them: which pages are there, of which size
//! and with which rights, and which tables and frames are in use. Some of the tests repeat what
//! went wrong in other kernels.

use axalloc::fault::fail_from;
use axalloc::{UsageKind, alloc_frame, usage};
use axerrno::AxError;
use axmm::AddrSpace;

mod support;

use support::{
    DEVICE, EXECUTE, GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TestMachine, UNCACHED, WRITE,
    alone, frames, phys, virt, words,
};

fn space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty(virt(M::base()), 4 * GIB).unwrap()
}

fn populating_without_memory_leaves_nothing_mapped<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base() + GIB - 4 * KIB4;
    let mut taken: Vec<_> = std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok()).collect();
    let before = (usage(), M::walk(&aspace).unwrap());
    let mut result = aspace.map_alloc(virt(base), 8 * KIB4, RW, true);
    for spare in 1.. {
        let Err(error) = result else { break };
        assert_eq!(error, AxError::NoMemory);
        assert_eq!(
            (usage().of(UsageKind::VirtMem), aspace.areas().count()),
            (0, 0)
        );
        assert_eq!(
            (frames().1, M::walk(&aspace).unwrap()),
            (1, before.1.clone())
        );
        assert!(spare < 20 && taken.pop().is_some());
        result = aspace.map_alloc(virt(base), 8 * KIB4, RW, true);
    }
    assert_eq!(usage().free, 0, "more was allocated than needed");
    assert_eq!(usage().of(UsageKind::VirtMem), 8);
}

fn a_page_without_rights_keeps_its_frame_until_it_is_unmapped<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    let before = frames();
    aspace.map_alloc(virt(base), 3 * KIB4, RW, true).unwrap();
    let at = M::translate(&aspace, base + KIB4).unwrap();
    words(at)[3] = 99;
    aspace.protect(virt(base), 2 * KIB4, NONE).unwrap();
    for access in [RO, WRITE, EXECUTE] {
        assert!(!aspace.handle_page_fault(virt(base), access));
    }
    aspace.protect(virt(base + KIB4), KIB4, RX).unwrap();
    assert_eq!(M::translate(&aspace, base + KIB4), Some(at));
    assert_eq!(words(at)[3], 99);
    aspace.protect(virt(base), 3 * KIB4, NONE).unwrap();
    aspace.unmap(virt(base), 3 * KIB4).unwrap();
    assert_eq!(frames(), before);
}

/// The crate `page_table_entry` asserts that a RISC-V entry has rights.
fn a_mapping_may_start_without_rights<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 2 * KIB4, NONE, true).unwrap();
    assert_eq!(frames().0, 2);
    aspace.protect(virt(base), 2 * KIB4, RW).unwrap();
    assert!(aspace.handle_page_fault(virt(base), RW));
    assert_eq!(frames().0, 2);
}

/// On aarch64 the crate `page_table_entry` takes an empty entry for a large page.
fn protect_writes_no_entry_for_untouched_pages<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 2 * GIB, RW, false).unwrap();
    assert!(aspace.handle_page_fault(virt(base + MIB2), RO));
    for flags in [RO, NONE, RX] {
        aspace.protect(virt(base + KIB4), GIB, flags).unwrap();
        let pages = M::walk(&aspace).unwrap().pages;
        assert_eq!(pages.len(), 1);
        assert_eq!(pages[0].rights, M::rights(flags));
    }
    assert_eq!(aspace.query(virt(base)), None);
    assert_eq!(aspace.query(virt(base + MIB2 + KIB4)), None);
}

/// On loongarch64 an entry that points to a table looks like an empty one.
fn pages_of_every_size_are_found<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    let sizes = [
        (0, GIB, 8 * GIB),
        (GIB, MIB2, 8 * GIB),
        (2 * GIB, KIB4, 8 * GIB),
    ];
    for (offset, size, paddr) in sizes {
        let at = virt(base + offset);
        aspace
            .map_physical(at, phys(paddr + size), size, RX)
            .unwrap();
        let page = aspace.query(at + (size - 1)).unwrap();
        assert_eq!((page.vaddr, page.size, page.flags), (at, size, RX));
        assert_eq!(page.paddr.as_usize(), paddr + size);
    }
    assert_eq!(aspace.query(virt(base + GIB + MIB2)), None);
    let raw = M::walk(&aspace).unwrap();
    let sizes: Vec<_> = raw.pages.iter().map(|page| page.size).collect();
    assert_eq!(sizes, [GIB, MIB2, KIB4]);
}

fn hardware_reads_the_rights_of_the_mapping<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    for size in [KIB4, MIB2, GIB] {
        for flags in [RO, RW, RX, DEVICE, UNCACHED] {
            let (at, to) = (virt(base + GIB), phys(8 * GIB));
            aspace.map_physical(at, to, size, flags).unwrap();
            let pages = M::walk(&aspace).unwrap().pages;
            assert_eq!((pages.len(), pages[0].rights), (1, M::rights(flags)));
            aspace.protect(at, size, RO).unwrap();
            aspace.protect(at, size, flags).unwrap();
            assert_eq!(M::walk(&aspace).unwrap().pages, pages);
            aspace.clear().unwrap();
        }
    }
}

fn a_linear_mapping_uses_the_largest_pages_that_fit<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let start = M::base() + GIB - MIB2 - KIB4;
    let paddr = 8 * GIB - MIB2 - KIB4;
    let size = GIB + 2 * MIB2 + 2 * KIB4;
    aspace
        .map_physical(virt(start), phys(paddr), size, RW)
        .unwrap();
    let pages = M::walk(&aspace).unwrap().pages;
    let sizes: Vec<_> = pages.iter().map(|page| page.size).collect();
    assert_eq!(sizes, [KIB4, MIB2, GIB, MIB2, KIB4]);
}

fn empty_tables_are_freed<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    let empty = frames();
    aspace
        .map_alloc(virt(base + GIB - KIB4), 2 * KIB4, RW, true)
        .unwrap();
    aspace
        .map_physical(virt(base), phys(8 * GIB), 2 * MIB2, RW)
        .unwrap();
    let both = frames().1;
    aspace.unmap(virt(base + GIB), KIB4).unwrap();
    assert!(frames().1 < both);
    aspace.unmap(virt(base + KIB4), KIB4).unwrap();
    aspace.unmap(virt(base), 2 * MIB2).unwrap();
    aspace.unmap(virt(base + GIB - KIB4), KIB4).unwrap();
    assert_eq!(frames(), empty);
}

/// The operation returns `NoMemory`, and the large page is split completely or not at all.
fn a_split_without_memory_leaves_the_page_whole<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace
        .map_physical(virt(base), phys(8 * GIB), GIB, RW)
        .unwrap();
    let before = (frames(), M::walk(&aspace).unwrap());
    let mut needed = 0;
    for change in [
        |aspace: &mut AddrSpace<M>| aspace.unmap(virt(M::base() + KIB4), MIB2),
        |aspace: &mut AddrSpace<M>| aspace.protect(virt(M::base() + KIB4), MIB2, RO),
    ] {
        for n in 1..4 {
            let armed = fail_from(n);
            let result = change(&mut aspace);
            assert!(armed.has_fired(), "three tables are needed");
            assert_eq!(result, Err(AxError::NoMemory));
            assert_eq!((frames(), M::walk(&aspace).unwrap()), before);
            needed += 1;
        }
    }
    assert_eq!(needed, 6);
}

fn a_dropped_address_space_frees_all_frames<M: TestMachine>() {
    let _alone = alone();
    let before = frames();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace
        .map_alloc(virt(base + GIB - 9 * KIB4), 99 * KIB4, RW, true)
        .unwrap();
    aspace.protect(virt(base + GIB), KIB4, NONE).unwrap();
    aspace
        .map_physical(virt(base), phys(8 * GIB + KIB4), MIB2, RW)
        .unwrap();
    aspace.fix_below(virt(base + 2 * MIB2));
    assert_eq!(aspace.clear(), Err(AxError::InvalidInput));
    drop(aspace);
    assert_eq!(frames(), before);
}

on_every_machine!(
    populating_without_memory_leaves_nothing_mapped,
    a_page_without_rights_keeps_its_frame_until_it_is_unmapped,
    a_mapping_may_start_without_rights,
    protect_writes_no_entry_for_untouched_pages,
    pages_of_every_size_are_found,
    hardware_reads_the_rights_of_the_mapping,
    a_linear_mapping_uses_the_largest_pages_that_fit,
    empty_tables_are_freed,
    a_split_without_memory_leaves_the_page_whole,
    a_dropped_address_space_frees_all_frames,
);
