//! Operations that an address space must refuse, and that then change nothing. Some of the
//! tests repeat what went wrong in other kernels.

use axerrno::AxError;
use axmm::{AddrSpace, MappingFlags, VirtAddrRange};

mod support;

use support::raw::Raw;
use support::{
    DEVICE, EXECUTE, GIB, KIB4, MIB2, MapPhysical, RO, RW, TestMachine, WRITE, alone, phys, virt,
};

fn space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty(virt(M::base()), 4 * GIB).unwrap()
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

fn an_address_space_beyond_what_tables_translate_is_refused<M: TestMachine>() {
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

/// An entry would drop their highest bits.
fn physical_addresses_too_large_for_an_entry_are_refused<M: TestMachine>() {
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
    assert_eq!(M::translate(&aspace, base), Some(end - KIB4));
    aspace
        .map_physical(virt(base + KIB4), phys(0), KIB4, RO)
        .unwrap();
    assert_eq!(M::translate(&aspace, base + KIB4), Some(0));
}

fn protect_over_a_hole_changes_nothing<M: TestMachine>() {
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

fn an_empty_range_is_accessible_everywhere<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 2 * KIB4, RO, false).unwrap();
    for addr in [base, base + 5, base + KIB4, base + 4 * KIB4, usize::MAX] {
        assert!(aspace.can_access_range(virt(addr), 0, WRITE), "{addr:#x}");
    }
    assert!(!aspace.can_access_range(virt(base), 1, WRITE));
}

fn rights_that_no_kernel_mapping_may_have_are_refused<M: TestMachine>() {
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

/// Not every format has a bit for device memory, so the area decides.
fn device_memory_is_not_copied<M: TestMachine>() {
    let _alone = alone();
    let aspace = AddrSpace::<M>::new_empty(virt(M::base()), GIB).unwrap();
    let start = virt(M::base());
    aspace.map_alloc(start, KIB4, DEVICE, false).unwrap();
    assert_eq!(aspace.write_some(start, &[1]), 0);
    assert_eq!(aspace.read_some(start, &mut [0]), 0);
    assert_eq!(aspace.query(start), None, "no page was faulted in");
}

/// The owner has Rust references into its mappings.
fn only_the_owner_changes_an_owned_mapping<M: TestMachine>() {
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
    assert!(M::translate(&aspace, owned.as_usize()).is_some());
    aspace.protect(free, MIB2, RO).unwrap();
    // SAFETY: the test owns the mapping, and holds no references to the pages.
    unsafe {
        aspace.protect_owned(owned, KIB4, RO).unwrap();
        aspace.unmap_owned(owned, MIB2).unwrap();
    }
    assert_eq!(M::translate(&aspace, owned.as_usize()), None);
    aspace.unmap(free, MIB2).unwrap();
}

/// The kernel has references to the code and data that it runs with.
fn fixed_mappings_are_neither_changed_nor_copied<M: TestMachine>() {
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
    ranges_that_overflow_are_refused,
    an_address_space_beyond_what_tables_translate_is_refused,
    physical_addresses_too_large_for_an_entry_are_refused,
    protect_over_a_hole_changes_nothing,
    an_empty_range_is_accessible_everywhere,
    rights_that_no_kernel_mapping_may_have_are_refused,
    device_memory_is_not_copied,
    only_the_owner_changes_an_owned_mapping,
    fixed_mappings_are_neither_changed_nor_copied,
);
