//! Copies into and out of an address space that fault in the caller's buffer, or where a
//! mapping has physical addresses without memory.

mod support;

use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use axerrno::AxError;
use axmm::AddrSpace;

use support::copies::{PARTS_OF_A_BUFFER, faulting};
use support::{GIB, KIB4, MapPhysical, RW, TestMachine, alone, phys, virt};

fn space<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty(virt(M::base()), GIB).unwrap()
}

/// Returns bytes that differ from zero.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u8 ^ (n >> 8) as u8) | 1).collect()
}

/// The copy stops at the fault. The next access to the buffer resolves it, and the copy goes on.
fn a_copy_goes_on_where_the_buffer_faults<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let start = virt(M::base() + 100);
    aspace
        .map_alloc(virt(M::base()), 4 * KIB4, RW, false)
        .unwrap();
    let text = text(3 * KIB4);
    let address = text.as_ptr().addr();
    for stale in PARTS_OF_A_BUFFER {
        let at = address + stale.start..address + stale.end;
        aspace.write(start, &vec![0; text.len()]).unwrap();
        let written = faulting(at, || aspace.write(start, &text));
        assert_eq!(written, Ok(()), "{stale:?}");
        let mut back = vec![0; text.len()];
        let buffer = back.as_ptr().addr();
        let at = buffer + stale.start..buffer + stale.end;
        assert_eq!(faulting(at, || aspace.read(start, &mut back)), Ok(()));
        assert!(back == text, "{stale:?}");
        let mut back = vec![0; text.len()];
        let at = back.as_ptr().addr()..back.as_ptr().addr() + back.len();
        aspace.write(start + 2 * KIB4, &[0]).unwrap();
        let string = faulting(at, || aspace.read_cstr(start, &mut back).map(<[u8]>::len));
        assert_eq!(string, Ok(2 * KIB4));
        assert!(back[..2 * KIB4] == text[..2 * KIB4]);
    }
}

/// A linear mapping may have any physical addresses.
fn a_copy_ends_where_there_is_no_memory<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let start = virt(M::base());
    aspace.map_physical(start, phys(8 * GIB), KIB4, RW).unwrap();
    let mut buffer = [7; 100];
    let absent = PHYS_VIRT_OFFSET + 8 * GIB..PHYS_VIRT_OFFSET + 9 * GIB;
    faulting(absent, || {
        assert_eq!(aspace.read_some(start, &mut buffer), 0);
        assert_eq!(aspace.write(start, &buffer), Err(AxError::BadAddress));
        let string = aspace.read_cstr(start, &mut buffer).map(<[u8]>::len);
        assert_eq!(string, Err(AxError::BadAddress));
    });
    // The memory ends in the middle of a page.
    aspace.unmap(start, KIB4).unwrap();
    aspace.map_physical(start, phys(GIB), KIB4, RW).unwrap();
    let absent = PHYS_VIRT_OFFSET + GIB + 40..PHYS_VIRT_OFFSET + 2 * GIB;
    faulting(absent, || {
        assert_eq!(aspace.read_some(start, &mut buffer), 40);
        assert_eq!(aspace.write_some(start + 1, &buffer), 39);
    });
}

/// An access outside the linear mapping of all memory would end the test by a signal.
fn memory_beyond_the_linear_mapping_is_not_copied<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let start = virt(M::base());
    for paddr in [MAX_PHYS, MAX_PHYS + GIB, PHYS_VIRT_OFFSET.wrapping_neg()] {
        match aspace.map_physical(start, phys(paddr), KIB4, RW) {
            Err(error) => assert_eq!(
                (error, paddr >> M::PHYS_BITS != 0),
                (AxError::InvalidInput, true)
            ),
            Ok(()) => {
                assert_eq!(aspace.read_some(start, &mut [0]), 0);
                assert_eq!(aspace.write_some(start, &[1]), 0);
                aspace.unmap(start, KIB4).unwrap();
            }
        }
    }
}

on_every_machine!(
    a_copy_goes_on_where_the_buffer_faults,
    a_copy_ends_where_there_is_no_memory,
    memory_beyond_the_linear_mapping_is_not_copied,
);
