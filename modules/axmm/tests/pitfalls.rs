//! What has gone wrong in other address spaces and page tables, one test each.

use std::rc::Rc;

use axalloc::fault::fail_from;
use axalloc::{SharedFrames, UsageKind, alloc_frame, usage};
use axerrno::AxError;
use axmm::{AddrSpace, MappingFlags, VirtAddrRange};

mod support;

use support::raw::{Raw, RawPage};
use support::{
    DEVICE, EVERYTHING, EXECUTE, GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TLB, TestMachine,
    Tlb, UNCACHED, WRITE, alone, frames, phys, virt, words,
};

fn space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty(virt(M::base()), 4 * GIB).unwrap()
}

/// The frame of the page at `addr`, as hardware finds it.
fn frame<M: TestMachine>(aspace: &AddrSpace<M>, addr: usize) -> Option<usize> {
    let raw = M::walk(aspace).unwrap();
    let mut pages = raw.pages.iter();
    let page = pages.find(|page| (page.vaddr..page.vaddr + page.size).contains(&addr))?;
    Some(page.paddr + (addr - page.vaddr))
}

/// What `operation` makes other harts forget.
fn forgotten<M: TestMachine>(
    aspace: &mut AddrSpace<M>,
    operation: impl FnOnce(&mut AddrSpace<M>),
) -> Vec<std::ops::Range<usize>> {
    Tlb::know(&Rc::new(M::walk(aspace).unwrap()));
    operation(aspace);
    Tlb::check(&M::walk(aspace).unwrap(), false).unwrap()
}

fn a_second_fault_on_a_page_keeps_the_page<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 4 * KIB4, RW, false).unwrap();
    assert!(aspace.handle_page_fault(virt(base + 5), WRITE));
    let first = frame(&aspace, base).unwrap();
    words(first)[7] = 42;
    let before = frames();
    for access in [RO, WRITE, RW] {
        assert!(aspace.handle_page_fault(virt(base + KIB4 - 1), access));
    }
    assert!(!aspace.handle_page_fault(virt(base), EXECUTE));
    assert_eq!(frame(&aspace, base), Some(first));
    assert_eq!((words(first)[7], frames()), (42, before));
}

fn populating_with_too_little_memory_fails_and_leaves_nothing<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base() + GIB - 4 * KIB4;
    let mut hoard: Vec<_> = std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok()).collect();
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
        assert!(spare < 20 && hoard.pop().is_some());
        result = aspace.map_alloc(virt(base), 8 * KIB4, RW, true);
    }
    assert_eq!(usage().free, 0, "it has taken more than it needs");
    assert_eq!(usage().of(UsageKind::VirtMem), 8);
}

fn a_page_that_found_no_memory_comes_with_the_next_fault<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), KIB4, RW, false).unwrap();
    let before = frames();
    for n in 1.. {
        let armed = fail_from(n);
        let came = aspace.handle_page_fault(virt(base), RO);
        if !armed.has_fired() {
            assert!(came && n > 2);
            break;
        }
        assert!(!came);
        assert_eq!(frames(), before);
    }
}

fn a_fault_after_protect_gets_the_new_rights<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 4 * KIB4, RW, false).unwrap();
    assert!(aspace.handle_page_fault(virt(base), RO));
    aspace.protect(virt(base), 2 * KIB4, RO).unwrap();
    for page in [base, base + KIB4] {
        assert!(!aspace.handle_page_fault(virt(page), WRITE));
        assert!(aspace.handle_page_fault(virt(page), RO));
        assert!(!aspace.can_access_range(virt(page), 1, WRITE));
    }
    assert!(aspace.handle_page_fault(virt(base + 2 * KIB4), WRITE));
    let pages = M::walk(&aspace).unwrap().pages;
    let rights: Vec<_> = pages.iter().map(|page| page.rights).collect();
    assert_eq!(rights, [RO, RO, RW].map(M::rights));
}

fn a_page_without_rights_keeps_its_frame_and_unmapping_frees_it<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    let before = frames();
    aspace.map_alloc(virt(base), 3 * KIB4, RW, true).unwrap();
    let at = frame(&aspace, base + KIB4).unwrap();
    words(at)[3] = 99;
    aspace.protect(virt(base), 2 * KIB4, NONE).unwrap();
    for access in [RO, WRITE, EXECUTE] {
        assert!(!aspace.handle_page_fault(virt(base), access));
    }
    aspace.protect(virt(base + KIB4), KIB4, RX).unwrap();
    assert_eq!(frame(&aspace, base + KIB4), Some(at));
    assert_eq!(words(at)[3], 99);
    aspace.protect(virt(base), 3 * KIB4, NONE).unwrap();
    aspace.unmap(virt(base), 3 * KIB4).unwrap();
    assert_eq!(frames(), before);
}

/// RISC-V entries are made with an assertion that they have rights.
fn a_mapping_may_begin_without_rights<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 2 * KIB4, NONE, true).unwrap();
    assert_eq!(frames().0, 2);
    aspace.protect(virt(base), 2 * KIB4, RW).unwrap();
    assert!(aspace.handle_page_fault(virt(base), RW));
    assert_eq!(frames().0, 2);
}

fn fresh_mappings_make_nobody_forget<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    let flushes = forgotten(&mut aspace, |aspace| {
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
    assert!(TLB.with_borrow(|tlb| tlb.here.is_empty()));
}

fn what_was_never_there_makes_nobody_forget<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), GIB, RW, false).unwrap();
    let flushes = forgotten(&mut aspace, |aspace| {
        aspace.protect(virt(base), 9 * KIB4, RO).unwrap();
        aspace.unmap(virt(base + KIB4), GIB).unwrap();
        aspace.clear().unwrap();
    });
    assert_eq!(flushes, []);
}

/// Whether frames are free before is what `Tlb::check` finds out.
fn an_unmapping_is_forgotten_once_and_before_its_frames_are_free<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 64 * KIB4, RW, true).unwrap();
    let part = base + KIB4..base + 60 * KIB4;
    let flushes = forgotten(&mut aspace, |aspace| {
        aspace.unmap(virt(part.start), part.len()).unwrap();
    });
    assert_eq!(flushes, [part]);
    // The rest goes with its tables, the way to which is forgotten too.
    let flushes = forgotten(&mut aspace, |aspace| aspace.clear().unwrap());
    assert!(
        flushes.len() <= 2 && flushes.contains(&EVERYTHING),
        "{flushes:x?}"
    );
    // Many frames, but few rows of them.
    aspace.map_alloc(virt(base), 700 * KIB4, RW, true).unwrap();
    let flushes = forgotten(&mut aspace, |aspace| aspace.clear().unwrap());
    assert_eq!(flushes, [EVERYTHING]);
}

/// Nearly all memory, frame by frame the other way round, and in no row: what is
/// gathered has no bound, and takes no memory.
fn thousands_of_scattered_frames_are_forgotten_once<M: TestMachine>() {
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
    let rows = PAGES - pages.windows(2).filter(follows).count();
    assert!(rows > 3000, "{rows} rows of frames");
    let flushes = forgotten(&mut aspace, |aspace| {
        let armed = fail_from(1);
        aspace.unmap(virt(part.start), part.len()).unwrap();
        assert!(!armed.has_fired());
    });
    assert_eq!(flushes, [EVERYTHING], "the way to tables is too");
    assert_eq!(frames().0, 0);
    aspace.clear().unwrap();
    assert_eq!(frames(), before);
}

/// What has other owners leaves no room for a row behind it.
fn frames_with_other_owners_are_forgotten_before_they_go<M: TestMachine>() {
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
    // SAFETY: the frame is the page table's by itself, and this part goes back to it.
    let owner = unsafe { SharedFrames::from_raw(phys(pages[0].paddr)) };
    let other = owner.share().unwrap();
    owner.into_raw();
    let row = (1..PAGES).find(|page| pages[*page].paddr != pages[*page - 1].paddr + KIB4);
    let row = base..base + KIB4 * row.expect("frames are in many rows");
    let rest = row.end..base + PAGES * KIB4;
    let flushes = forgotten(&mut aspace, |aspace| {
        aspace.unmap(virt(base), PAGES * KIB4).unwrap();
    });
    assert_eq!(flushes, [row, rest]);
    assert_eq!((frames().0, other.references()), (2, 1));
}

fn a_change_of_rights_is_forgotten_once<M: TestMachine>() {
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
    assert_eq!(forgotten(&mut aspace, protect(RO)), once);
    assert_eq!(forgotten(&mut aspace, protect(RO)), []);
    assert_eq!(forgotten(&mut aspace, protect(NONE)), once);
    assert_eq!(forgotten(&mut aspace, protect(NONE)), []);
}

/// What a format cannot express is no difference.
fn rights_that_hardware_reads_alike_make_nobody_forget<M: TestMachine>() {
    let _alone = alone();
    let mut aspace = space::<M>();
    let base = M::base();
    for flags in [DEVICE, UNCACHED, RW, RO, RX] {
        aspace
            .map_physical(virt(base), phys(8 * GIB), 2 * MIB2, flags)
            .unwrap();
        let flushes = forgotten(&mut aspace, |aspace| {
            aspace.protect(virt(base), 2 * MIB2, flags).unwrap();
        });
        assert_eq!(flushes, [], "{flags:?}");
        aspace.clear().unwrap();
    }
}

fn a_large_page_is_forgotten_before_smaller_ones_take_its_place<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace
        .map_physical(virt(base), phys(8 * GIB), GIB, RW)
        .unwrap();
    Tlb::know(&Rc::new(M::walk(&aspace).unwrap()));
    let root = aspace.page_table_root().as_usize();
    TLB.with_borrow_mut(|tlb| {
        tlb.watch = Some((root, |root| {
            // A table above may be empty for the moment, and maps nothing then.
            Ok(M::walk_from(root).unwrap_or_default())
        }));
    });
    aspace.protect(virt(base + KIB4), KIB4, RO).unwrap();
    let (flushes, watched) =
        TLB.with_borrow_mut(|tlb| (tlb.flushes.clone(), std::mem::take(&mut tlb.watched)));
    let (large, small) = (base..base + GIB, base..base + MIB2);
    assert_eq!(flushes, [large, small, base + KIB4..base + 2 * KIB4]);
    for (raw, flush) in watched.iter().zip(&flushes).take(2) {
        let there = raw.pages.iter().any(|page| page.vaddr == flush.start);
        assert!(!there, "{flush:x?} is forgotten while it is mapped");
    }
    let raw = M::walk(&aspace).unwrap();
    assert_eq!(raw.pages.len(), 511 + 512);
}

/// Arm Architecture Reference Manual, D8.16.1 "break-before-make".
fn another_kind_of_memory_comes_after_none<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    // A large page, and small ones.
    let size = MIB2 + 4 * KIB4;
    aspace
        .map_physical(virt(base), phys(8 * GIB), size, RW)
        .unwrap();
    let root = aspace.page_table_root().as_usize();
    for flags in [UNCACHED, RW, DEVICE] {
        Tlb::know(&Rc::new(M::walk(&aspace).unwrap()));
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
            let there = pages.any(|page| flush.contains(&page.vaddr));
            assert!(!there, "{flush:x?} is forgotten while it is mapped");
        }
        let raw = M::walk(&aspace).unwrap();
        assert_eq!(raw.pages.len(), 5);
        let kind = M::memory(flags);
        assert!(raw.pages.iter().all(|page| page.rights.memory == kind));
    }
}

fn ranges_that_overflow_are_refused<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), KIB4, RW, true).unwrap();
    let invalid = Err(AxError::InvalidInput);
    for start in [base, base + KIB4, usize::MAX - 4095] {
        for size in [start.wrapping_neg(), usize::MAX - 4095, usize::MAX, 1 << 63] {
            let at = virt(start);
            assert_eq!(aspace.map_physical(at, phys(0), size, RW), invalid);
            assert_eq!(aspace.map_alloc(at, size, RW, true), invalid);
            assert_eq!(aspace.map_alloc(at, size, RW, false), invalid);
            assert_eq!(aspace.unmap(at, size), invalid);
            assert_eq!(aspace.protect(at, size, RO), invalid);
            assert!(!aspace.contains_range(at, size));
            assert!(!aspace.can_access_range(at, size, RO));
            let all = VirtAddrRange::new(virt(0), virt(usize::MAX));
            assert_eq!(aspace.find_free_area(at, size, all), None);
        }
    }
    for addr in [0, usize::MAX, base + KIB4, base - 1] {
        assert!(!aspace.handle_page_fault(virt(addr), RO));
        assert_eq!(aspace.query(virt(addr)), None);
    }
    assert_eq!(
        AddrSpace::<M>::new_empty(virt(base), usize::MAX - 4095).err(),
        invalid.err()
    );
}

fn an_address_space_whose_addresses_no_table_tells_apart_is_refused<M: TestMachine>() {
    let _alone = alone();
    let new = |base: usize, size: usize| AddrSpace::<M>::new_empty(virt(base), size).err();
    let invalid = Some(AxError::InvalidInput);
    assert_eq!(new(0, 1 << 60), invalid);
    assert_eq!(new(KIB4, usize::MAX - 8191), invalid);
    assert_eq!(new(1 << 52, KIB4), invalid);
    assert_eq!(new(M::HIGH - KIB4, 2 * KIB4), invalid);
    assert_eq!(new(M::HIGH, KIB4), None);
    assert_eq!(new(M::HIGH, usize::MAX - 4095 - M::HIGH), None);
    assert_eq!(new(0, 1 << 38), None);
}

/// Their upper bits would be lost in the entry.
fn physical_addresses_that_no_entry_holds_are_refused<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let (base, end) = (M::base(), 1 << M::PHYS_BITS);
    for paddr in [end, end - KIB4, 1 << 62, usize::MAX - 4095] {
        let result = aspace.map_physical(virt(base), phys(paddr), 2 * KIB4, RW);
        assert_eq!(result, Err(AxError::InvalidInput), "{paddr:#x}");
    }
    aspace
        .map_physical(virt(base), phys(end - KIB4), KIB4, RW)
        .unwrap();
    assert_eq!(frame(&aspace, base), Some(end - KIB4));
    aspace
        .map_physical(virt(base + KIB4), phys(0), KIB4, RO)
        .unwrap();
    assert_eq!(frame(&aspace, base + KIB4), Some(0));
}

/// On aarch64 a zero entry counts as huge.
fn protecting_what_has_not_been_touched_writes_no_entry<M: TestMachine>() {
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

fn protecting_over_a_hole_is_refused_as_a_whole<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), KIB4, RW, true).unwrap();
    aspace
        .map_alloc(virt(base + 2 * KIB4), KIB4, RW, true)
        .unwrap();
    let before: Raw = M::walk(&aspace).unwrap();
    for (start, pages) in [(base, 3), (base, 2), (base + KIB4, 2), (base + KIB4, 1)] {
        let result = aspace.protect(virt(start), pages * KIB4, RO);
        assert_eq!(result, Err(AxError::NotFound));
    }
    assert_eq!(M::walk(&aspace).unwrap(), before);
    assert_eq!(aspace.areas().filter(|area| area.flags() == RW).count(), 2);
}

/// On loongarch64 an entry that leads to a table looks absent.
fn pages_of_every_size_are_found_through_every_level<M: TestMachine>() {
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

fn hardware_reads_the_rights_that_were_asked_for<M: TestMachine>() {
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

fn the_largest_pages_that_fit_are_used<M: TestMachine>() {
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

fn emptied_tables_are_given_back<M: TestMachine>() {
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

fn a_free_area_lies_within_its_limit_when_areas_follow<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace
        .map_physical(virt(base + KIB4), phys(8 * GIB), KIB4, RW)
        .unwrap();
    aspace
        .map_physical(virt(base + 8 * KIB4), phys(8 * GIB), KIB4, RW)
        .unwrap();
    let limit = VirtAddrRange::new(virt(base), virt(base + 4 * KIB4));
    let find = |hint: usize, pages: usize| {
        let found = aspace.find_free_area(virt(base + hint), pages * KIB4, limit);
        found.map(|found| found.as_usize() - base)
    };
    assert_eq!(find(0, 1), Some(0));
    assert_eq!(find(0, 2), Some(2 * KIB4));
    assert_eq!(find(0, 3), None);
    assert_eq!(find(3 * KIB4, 2), None);
    assert_eq!(find(4 * KIB4, 1), None);
}

/// The reason reaches the caller, and a large page is split wholly or not at all.
fn a_split_that_runs_out_of_memory_leaves_the_page_whole<M: TestMachine>() {
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

fn an_empty_range_may_be_accessed_anywhere<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 2 * KIB4, RO, false).unwrap();
    for addr in [base, base + 5, base + KIB4, base + 4 * KIB4, usize::MAX] {
        assert!(aspace.can_access_range(virt(addr), 0, WRITE), "{addr:#x}");
    }
    assert!(!aspace.can_access_range(virt(base), 1, WRITE));
}

fn rights_no_kernel_mapping_has_are_refused<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), KIB4, RW, true).unwrap();
    let user = MappingFlags::USER;
    for flags in [
        WRITE,
        EXECUTE,
        RW | EXECUTE,
        RO | user,
        user,
        MappingFlags::DEVICE,
    ] {
        let at = virt(base + KIB4);
        let refused = Err(AxError::InvalidInput);
        assert_eq!(aspace.map_physical(at, phys(0), KIB4, flags), refused);
        assert_eq!(aspace.map_alloc(at, KIB4, flags, true), refused);
        assert_eq!(aspace.protect(virt(base), KIB4, flags), refused);
    }
}

fn an_address_space_that_goes_leaves_no_frame<M: TestMachine>() {
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

/// Not every format has it in the entry that a page is a device's.
fn what_is_a_device_s_is_not_copied<M: TestMachine>() {
    let _alone = alone();
    let aspace = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let start = virt(M::base());
    aspace.map_alloc(start, KIB4, DEVICE, false).unwrap();
    assert_eq!(aspace.write_some(start, &[1]), 0);
    assert_eq!(aspace.read_some(start, &mut [0]), 0);
    assert_eq!(aspace.query(start), None, "nor brought for it");
}

/// Code with references to what it has mapped relies on it.
fn what_has_an_owner_is_changed_by_it_alone<M: TestMachine>() {
    let _alone = alone();
    let (base, refused) = (M::base(), Err(AxError::InvalidInput));
    let mut aspace = AddrSpace::<M>::new_empty(virt(base), GIB).unwrap();
    let (free, owned) = (virt(base), virt(base + MIB2));
    aspace.own_from(owned);
    aspace.own_from(virt(base + 2 * MIB2));
    aspace.map_alloc(free, 2 * MIB2, RW, true).unwrap();
    for (start, size) in [(owned, KIB4), (virt(base + MIB2 - KIB4), 2 * KIB4)] {
        assert_eq!(aspace.unmap(start, size), refused);
        assert_eq!(aspace.protect(start, size, RO), refused);
    }
    assert_eq!(aspace.write_some(virt(base + MIB2 - 2), &[1; 4]), 2);
    assert_eq!(aspace.read_some(virt(base + MIB2 - 2), &mut [0; 4]), 2);
    assert!(frame(&aspace, owned.as_usize()).is_some());
    aspace.protect(free, MIB2, RO).unwrap();
    // SAFETY: the pages are this test's, and it has no references to them.
    unsafe {
        aspace.protect_owned(owned, KIB4, RO).unwrap();
        aspace.unmap_owned(owned, MIB2).unwrap();
    }
    assert_eq!(frame(&aspace, owned.as_usize()), None);
    aspace.unmap(free, MIB2).unwrap();
}

/// The kernel has references to what it runs in.
fn what_is_fixed_is_not_copied_and_stays_fixed<M: TestMachine>() {
    let _alone = alone();
    let (base, refused) = (M::base(), Err(AxError::InvalidInput));
    let mut aspace = AddrSpace::<M>::new_empty(virt(base), GIB).unwrap();
    aspace.map_alloc(virt(base), 4 * KIB4, RW, true).unwrap();
    aspace.fix_below(virt(base + 2 * KIB4));
    aspace.fix_below(virt(base));
    assert_eq!(aspace.unmap(virt(base), KIB4), refused);
    assert_eq!(aspace.write_some(virt(base), &[1]), 0);
    assert_eq!(aspace.read_some(virt(base + 2 * KIB4 - 1), &mut [0]), 0);
    assert_eq!(aspace.write_some(virt(base + 2 * KIB4), &[1]), 1);
}

on_every_machine!(
    what_has_an_owner_is_changed_by_it_alone,
    what_is_fixed_is_not_copied_and_stays_fixed,
    what_is_a_device_s_is_not_copied,
    a_second_fault_on_a_page_keeps_the_page,
    populating_with_too_little_memory_fails_and_leaves_nothing,
    a_page_that_found_no_memory_comes_with_the_next_fault,
    a_fault_after_protect_gets_the_new_rights,
    a_page_without_rights_keeps_its_frame_and_unmapping_frees_it,
    a_mapping_may_begin_without_rights,
    fresh_mappings_make_nobody_forget,
    what_was_never_there_makes_nobody_forget,
    an_unmapping_is_forgotten_once_and_before_its_frames_are_free,
    thousands_of_scattered_frames_are_forgotten_once,
    frames_with_other_owners_are_forgotten_before_they_go,
    a_change_of_rights_is_forgotten_once,
    rights_that_hardware_reads_alike_make_nobody_forget,
    a_large_page_is_forgotten_before_smaller_ones_take_its_place,
    another_kind_of_memory_comes_after_none,
    ranges_that_overflow_are_refused,
    an_address_space_whose_addresses_no_table_tells_apart_is_refused,
    physical_addresses_that_no_entry_holds_are_refused,
    protecting_what_has_not_been_touched_writes_no_entry,
    protecting_over_a_hole_is_refused_as_a_whole,
    pages_of_every_size_are_found_through_every_level,
    hardware_reads_the_rights_that_were_asked_for,
    the_largest_pages_that_fit_are_used,
    emptied_tables_are_given_back,
    a_free_area_lies_within_its_limit_when_areas_follow,
    a_split_that_runs_out_of_memory_leaves_the_page_whole,
    an_empty_range_may_be_accessed_anywhere,
    rights_no_kernel_mapping_has_are_refused,
    an_address_space_that_goes_leaves_no_frame,
);
