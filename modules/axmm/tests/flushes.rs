//! Operations flush the pages that lose a translation or a right, once and before the frames
//! are freed. They flush nothing else. Some of the tests repeat what went wrong in other
//! kernels.

use std::rc::Rc;

use axalloc::SharedFrames;
use axalloc::fault::fail_from;
use axmm::AddrSpace;

mod support;

use support::raw::RawPage;
use support::{
    ALL_ADDRESSES, DEVICE, GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TLB, TestMachine, Tlb,
    UNCACHED, WRITE, alone, frames, phys, virt,
};

fn space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty(virt(M::base()), 4 * GIB).unwrap()
}

/// Performs `operation`. Returns the ranges that it flushes on other harts.
fn flushes_of<M: TestMachine>(
    aspace: &mut AddrSpace<M>,
    operation: impl FnOnce(&mut AddrSpace<M>),
) -> Vec<std::ops::Range<usize>> {
    Tlb::fill(&Rc::new(M::walk(aspace).unwrap()));
    operation(aspace);
    Tlb::check(&M::walk(aspace).unwrap(), false).unwrap()
}

fn a_new_mapping_flushes_nothing<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    let flushes = flushes_of(&mut aspace, |aspace| {
        aspace
            .map_physical(virt(base + GIB), phys(8 * GIB), GIB, RW)
            .unwrap();
        aspace.map_alloc(virt(base), 9 * KIB4, RW, true).unwrap();
        aspace
            .map_alloc(virt(base + MIB2), KIB4, RW, false)
            .unwrap();
        assert!(aspace.handle_page_fault(virt(base + MIB2), RO));
    });
    assert_eq!(flushes, []);
    assert!(TLB.with_borrow(|tlb| tlb.local_flushes.is_empty()));
}

fn pages_that_were_never_mapped_are_not_flushed<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), GIB, RW, false).unwrap();
    let flushes = flushes_of(&mut aspace, |aspace| {
        aspace.protect(virt(base), 9 * KIB4, RO).unwrap();
        aspace.unmap(virt(base + KIB4), GIB).unwrap();
        aspace.clear().unwrap();
    });
    assert_eq!(flushes, []);
}

/// `Tlb::check` finds frames that are freed before the flush.
fn unmap_flushes_once_before_it_frees_frames<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 64 * KIB4, RW, true).unwrap();
    let part = base + KIB4..base + 60 * KIB4;
    let flushes = flushes_of(&mut aspace, |aspace| {
        aspace.unmap(virt(part.start), part.len()).unwrap();
    });
    assert_eq!(flushes, [part]);
    // The last pages are unmapped with their tables, so all addresses are flushed.
    let flushes = flushes_of(&mut aspace, |aspace| aspace.clear().unwrap());
    assert!(
        flushes.len() <= 2 && flushes.contains(&ALL_ADDRESSES),
        "{flushes:x?}"
    );
    // There are many frames, but few frame runs.
    aspace.map_alloc(virt(base), 700 * KIB4, RW, true).unwrap();
    let flushes = flushes_of(&mut aspace, |aspace| aspace.clear().unwrap());
    assert_eq!(flushes, [ALL_ADDRESSES]);
}

/// Unmaps nearly all memory. The frames were mapped in descending order, so they make no runs:
/// the number of pages that are gathered has no bound, and gathering allocates nothing.
fn thousands_of_scattered_frames_are_flushed_at_once<M: TestMachine>() {
    const PAGES: usize = 3800;
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    let before = frames();
    aspace
        .map_alloc(virt(base), (PAGES + 2) * KIB4, RW, false)
        .unwrap();
    for page in (0..PAGES).rev() {
        assert!(aspace.handle_page_fault(virt(base + page * KIB4), WRITE));
    }
    assert_eq!(frames().0, PAGES);
    let part = base..base + PAGES * KIB4;
    let pages = M::walk(&aspace).unwrap().pages;
    let follows = |pair: &&[RawPage]| pair[0].paddr + KIB4 == pair[1].paddr;
    let runs = PAGES - pages.windows(2).filter(follows).count();
    assert!(runs > 3000, "only {runs} frame runs");
    let flushes = flushes_of(&mut aspace, |aspace| {
        let armed = fail_from(1);
        aspace.unmap(virt(part.start), part.len()).unwrap();
        assert!(!armed.has_fired());
    });
    assert_eq!(flushes, [ALL_ADDRESSES], "tables are freed as well");
    assert_eq!(frames().0, 0);
    aspace.clear().unwrap();
    assert_eq!(frames(), before);
}

/// The metadata of a frame with several owners has no space for a link to the next run, so
/// what was gathered is flushed there.
fn frames_with_other_owners_are_flushed_before_they_are_released<M: TestMachine>() {
    const PAGES: usize = 64;
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace
        .map_alloc(virt(base), (PAGES + 1) * KIB4, RW, false)
        .unwrap();
    for page in (0..=PAGES).rev() {
        assert!(aspace.handle_page_fault(virt(base + page * KIB4), WRITE));
    }
    let pages = M::walk(&aspace).unwrap().pages;
    // SAFETY: the page table owns the frame, and `into_raw` below gives the ownership back.
    let owner = unsafe { SharedFrames::from_raw(phys(pages[0].paddr)) };
    let other = owner.share().unwrap();
    owner.into_raw();
    let end = (1..PAGES).find(|page| pages[*page].paddr != pages[*page - 1].paddr + KIB4);
    let first_run = base..base + KIB4 * end.expect("there are many frame runs");
    let rest = first_run.end..base + PAGES * KIB4;
    let flushes = flushes_of(&mut aspace, |aspace| {
        aspace.unmap(virt(base), PAGES * KIB4).unwrap();
    });
    assert_eq!(flushes, [first_run, rest]);
    assert_eq!((frames().0, other.references()), (2, 1));
}

fn protect_flushes_once<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 200 * KIB4, RW, true).unwrap();
    let part = base + KIB4..base + 150 * KIB4;
    let protect = |flags| {
        let part = part.clone();
        move |aspace: &mut AddrSpace<M>| {
            aspace.protect(virt(part.start), part.len(), flags).unwrap();
        }
    };
    let once = std::slice::from_ref(&part);
    assert_eq!(flushes_of(&mut aspace, protect(RO)), once);
    assert_eq!(flushes_of(&mut aspace, protect(RO)), []);
    assert_eq!(flushes_of(&mut aspace, protect(NONE)), once);
    assert_eq!(flushes_of(&mut aspace, protect(NONE)), []);
}

/// Some formats have the same entry for two kinds of memory.
fn rights_with_the_same_entries_flush_nothing<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    for flags in [DEVICE, UNCACHED, RW, RO, RX] {
        aspace
            .map_physical(virt(base), phys(8 * GIB), 2 * MIB2, flags)
            .unwrap();
        let flushes = flushes_of(&mut aspace, |aspace| {
            aspace.protect(virt(base), 2 * MIB2, flags).unwrap();
        });
        assert_eq!(flushes, [], "{flags:?}");
        aspace.clear().unwrap();
    }
}

fn a_large_page_is_flushed_before_smaller_pages_replace_it<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace
        .map_physical(virt(base), phys(8 * GIB), GIB, RW)
        .unwrap();
    Tlb::fill(&Rc::new(M::walk(&aspace).unwrap()));
    let root = aspace.page_table_root().as_usize();
    TLB.with_borrow_mut(|tlb| {
        tlb.watch = Some((root, |root| {
            // The reader refuses a table that is empty for a moment. It maps nothing then.
            Ok(M::walk_from(root).unwrap_or_default())
        }));
    });
    aspace.protect(virt(base + KIB4), KIB4, RO).unwrap();
    let (flushes, watched) =
        TLB.with_borrow_mut(|tlb| (tlb.flushes.clone(), std::mem::take(&mut tlb.watched)));
    let (large, small) = (base..base + GIB, base..base + MIB2);
    assert_eq!(flushes, [large, small, base + KIB4..base + 2 * KIB4]);
    for (raw, flush) in watched.iter().zip(&flushes).take(2) {
        let is_mapped = raw.pages.iter().any(|page| page.vaddr == flush.start);
        assert!(!is_mapped, "{flush:x?} is flushed while it is mapped");
    }
    let raw = M::walk(&aspace).unwrap();
    assert_eq!(raw.pages.len(), 511 + 512);
}

/// Arm Architecture Reference Manual, D8.16.1 "break-before-make".
fn a_page_is_unmapped_before_its_kind_of_memory_changes<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    // The range is mapped by a large page and four small ones.
    let size = MIB2 + 4 * KIB4;
    aspace
        .map_physical(virt(base), phys(8 * GIB), size, RW)
        .unwrap();
    let root = aspace.page_table_root().as_usize();
    for flags in [UNCACHED, RW, DEVICE] {
        Tlb::fill(&Rc::new(M::walk(&aspace).unwrap()));
        TLB.with_borrow_mut(|tlb| {
            tlb.watch = Some((root, |root| Ok(M::walk_from(root).unwrap_or_default())));
        });
        aspace.protect(virt(base), size, flags).unwrap();
        let (flushes, watched) =
            TLB.with_borrow_mut(|tlb| (tlb.flushes.clone(), std::mem::take(&mut tlb.watched)));
        if M::memory(RW) == M::memory(UNCACHED) {
            assert_eq!(flushes, [], "{flags:?}");
            continue;
        }
        let (large, small) = (base..base + MIB2, base + MIB2..base + size);
        assert_eq!(flushes[..2], [large, small], "{flags:?}");
        for (raw, flush) in watched.iter().zip(&flushes).take(2) {
            let mut pages = raw.pages.iter().filter(|page| page.rights.read);
            let is_mapped = pages.any(|page| flush.contains(&page.vaddr));
            assert!(!is_mapped, "{flush:x?} is flushed while it is mapped");
        }
        let raw = M::walk(&aspace).unwrap();
        assert_eq!(raw.pages.len(), 5);
        let kind = M::memory(flags);
        assert!(raw.pages.iter().all(|page| page.rights.memory == kind));
    }
}

on_every_machine!(
    a_new_mapping_flushes_nothing,
    pages_that_were_never_mapped_are_not_flushed,
    unmap_flushes_once_before_it_frees_frames,
    thousands_of_scattered_frames_are_flushed_at_once,
    frames_with_other_owners_are_flushed_before_they_are_released,
    protect_flushes_once,
    rights_with_the_same_entries_flush_nothing,
    a_large_page_is_flushed_before_smaller_pages_replace_it,
    a_page_is_unmapped_before_its_kind_of_memory_changes,
);
