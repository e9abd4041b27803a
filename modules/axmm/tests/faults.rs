//! A page fault that cannot be helped says why, and so does a copy.

use axalloc::fault::fail_from;
use axerrno::AxError;
use axmm::{AddrSpace, Fault, Grain};

mod support;

use support::{EXECUTE, KIB4, MIB2, RO, RW, TestMachine, WRITE, alone, frames, phys, virt};

/// What of an address space is mapped: large enough for every grain.
const SIZE: usize = 2 * MIB2;

const GRAINS: [Grain; 3] = [Grain::Page, Grain::Around(16), Grain::Large];

fn space<M: TestMachine>(grain: Grain) -> AddrSpace<M> {
    let base = virt(M::base());
    let space = AddrSpace::new_empty(base, 1 << 30).unwrap();
    space.map_alloc_with(base, SIZE, RW, false, grain).unwrap();
    space
}

fn a_fault_says_what_is_wrong_with_the_access<M: TestMachine>() {
    let _alone = alone();
    for grain in GRAINS {
        let space = space::<M>(grain);
        let base = M::base();
        let (read_only, linear) = (base + SIZE, base + 2 * SIZE);
        space.map_alloc(virt(read_only), KIB4, RO, false).unwrap();
        let frames_of_devices = phys(8 << 30);
        // SAFETY: no hart loads the table, and the test copies nothing from there.
        let mapped = unsafe { space.map_linear(virt(linear), frames_of_devices, KIB4, RO) };
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

/// Whichever allocation fails, and all behind it: of a frame, or of a table.
fn a_fault_without_memory_is_not_one_that_is_not_allowed<M: TestMachine>() {
    let _alone = alone();
    for grain in GRAINS {
        let mut failed = 0;
        for n in 1.. {
            let space = space::<M>(grain);
            let before = frames();
            let armed = fail_from(n);
            let fault = space.fault(virt(M::base()), RW);
            // What is wrong with an access itself is said all the same.
            let denied = space.fault(virt(M::base()), EXECUTE);
            assert_eq!(denied, Err(Fault::Denied), "{grain:?}: the {n}th");
            if !armed.has_fired() {
                assert_eq!(fault, Ok(()));
                break;
            }
            // A large grain makes do with less than it asks for.
            if fault.is_err() {
                assert_eq!(fault, Err(Fault::NoMemory), "{grain:?}: the {n}th");
                assert_eq!(frames(), before, "{grain:?}: after the {n}th");
                failed += 1;
            }
            assert_eq!(space.fault(virt(M::base()), RW), Ok(()), "{grain:?}");
        }
        assert!(failed >= 2, "{grain:?}: neither a frame nor a table failed");
    }
}

fn a_copy_without_memory_says_so<M: TestMachine>() {
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
    let nowhere = virt(M::base() + SIZE);
    assert_eq!(space.write(nowhere, &[1]), Err(AxError::BadAddress));
    drop(armed);
    assert_eq!(space.write(last, &[1, 2]), Ok(()));
}

on_every_machine!(
    a_fault_says_what_is_wrong_with_the_access,
    a_fault_without_memory_is_not_one_that_is_not_allowed,
    a_copy_without_memory_says_so,
);
