//! Page faults: the page is faulted in, or the fault handler says why not. So does a copy.

use axalloc::fault::fail_from;
use axerrno::AxError;
use axmm::{AddrSpace, Fault, Grain};

mod support;

use support::{
    EXECUTE, GIB, KIB4, MIB2, RO, RW, TestMachine, WRITE, alone, frames, phys, virt, words,
};

/// The size of the area, which is large enough for every grain.
const SIZE: usize = 2 * MIB2;

const GRAINS: [Grain; 3] = [Grain::Page, Grain::Around(16), Grain::Large];

fn space<M: TestMachine>(grain: Grain) -> AddrSpace<M> {
    let base = virt(M::base());
    let space = AddrSpace::new_empty(base, 1 << 30).unwrap();
    space.map_alloc_with(base, SIZE, RW, false, grain).unwrap();
    space
}

fn empty_space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty(virt(M::base()), GIB).unwrap()
}

fn a_second_fault_keeps_the_page<M: TestMachine>() {
    let _alone = alone();
    let aspace = empty_space::<M>();
    let base = M::base();
    aspace.map_alloc(virt(base), 4 * KIB4, RW, false).unwrap();
    assert!(aspace.handle_page_fault(virt(base + 5), WRITE));
    let first = M::translate(&aspace, base).unwrap();
    words(first)[7] = 42;
    let before = frames();
    for access in [RO, WRITE, RW] {
        assert!(aspace.handle_page_fault(virt(base + KIB4 - 1), access));
    }
    assert!(!aspace.handle_page_fault(virt(base), EXECUTE));
    assert_eq!(M::translate(&aspace, base), Some(first));
    assert_eq!((words(first)[7], frames()), (42, before));
}

fn a_fault_without_memory_succeeds_when_it_is_repeated<M: TestMachine>() {
    let _alone = alone();
    let aspace = empty_space::<M>();
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
    let aspace = empty_space::<M>();
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

fn a_refused_fault_says_why<M: TestMachine>() {
    let _alone = alone();
    for grain in GRAINS {
        let space = space::<M>(grain);
        let base = M::base();
        let (read_only, linear) = (base + SIZE, base + 2 * SIZE);
        space.map_alloc(virt(read_only), KIB4, RO, false).unwrap();
        let device = phys(8 << 30);
        // SAFETY: no hart uses the page table, and the test copies nothing from the page.
        let mapped = unsafe { space.map_linear(virt(linear), device, KIB4, RO) };
        mapped.unwrap();
        for (addr, access, wanted) in [
            (base, WRITE, Ok(())),
            (base, EXECUTE, Err(Fault::Denied)),
            (base + KIB4, EXECUTE, Err(Fault::Denied)),
            (read_only, WRITE, Err(Fault::Denied)),
            (read_only, RO, Ok(())),
            (read_only, WRITE, Err(Fault::Denied)),
            (read_only + KIB4, RO, Err(Fault::Unmapped)),
            (base - 1, RO, Err(Fault::Unmapped)),
            (usize::MAX, RO, Err(Fault::Unmapped)),
            (linear, WRITE, Err(Fault::Denied)),
            (linear, RO, Ok(())),
        ] {
            let fault = space.fault(virt(addr), access);
            assert_eq!(fault, wanted, "{grain:?}: {access:?} at {addr:#x}");
            assert_eq!(space.handle_page_fault(virt(addr), access), wanted.is_ok());
        }
    }
}

/// Each allocation fails in turn, with all after it: of a frame, or of a table.
fn a_fault_without_memory_returns_no_memory<M: TestMachine>() {
    let _alone = alone();
    for grain in GRAINS {
        let mut failed = 0;
        for n in 1.. {
            let space = space::<M>(grain);
            let before = frames();
            let armed = fail_from(n);
            let fault = space.fault(virt(M::base()), RW);
            // A forbidden access is denied all the same.
            let denied = space.fault(virt(M::base()), EXECUTE);
            assert_eq!(denied, Err(Fault::Denied), "{grain:?}: the {n}th");
            if !armed.has_fired() {
                assert_eq!(fault, Ok(()));
                break;
            }
            // A fault with a large grain succeeds with fewer frames than it asks for.
            if fault.is_err() {
                assert_eq!(fault, Err(Fault::NoMemory), "{grain:?}: the {n}th");
                assert_eq!(frames(), before, "{grain:?}: after the {n}th");
                failed += 1;
            }
            assert_eq!(space.fault(virt(M::base()), RW), Ok(()), "{grain:?}");
        }
        assert!(failed >= 2, "{grain:?}: only {failed} allocations failed");
    }
}

fn a_copy_without_memory_returns_no_memory<M: TestMachine>() {
    let _alone = alone();
    let space = space::<M>(Grain::Page);
    let second = virt(M::base() + KIB4);
    let last = virt(M::base() + KIB4 - 1);
    space.write(last, &[1]).unwrap();
    let armed = fail_from(1);
    assert_eq!(space.write(last, &[1, 2]), Err(AxError::NoMemory));
    assert_eq!(space.write_some(last, &[1, 2]), 1);
    assert_eq!(space.read(second, &mut [0]), Err(AxError::NoMemory));
    assert_eq!(space.read_some(last, &mut [0; 2]), 1);
    assert_eq!(space.read_val::<u16>(last), Err(AxError::NoMemory));
    assert_eq!(space.write_val(last, &7_u16), Err(AxError::NoMemory));
    let text = space.read_cstr(last, &mut [0; 4]).map(<[u8]>::len);
    assert_eq!(text, Err(AxError::NoMemory));
    let unmapped = virt(M::base() + SIZE);
    assert_eq!(space.write(unmapped, &[1]), Err(AxError::BadAddress));
    drop(armed);
    assert_eq!(space.write(last, &[1, 2]), Ok(()));
}

on_every_machine!(
    a_second_fault_keeps_the_page,
    a_fault_without_memory_succeeds_when_it_is_repeated,
    a_fault_after_protect_gets_the_new_rights,
    a_refused_fault_says_why,
    a_fault_without_memory_returns_no_memory,
    a_copy_without_memory_returns_no_memory,
);
