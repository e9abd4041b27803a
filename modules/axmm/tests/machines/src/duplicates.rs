//! What tests of duplicated address spaces look at.

use axmm::{AddrSpace, MappingFlags};

use crate::{GIB, TestMachine, virt};

/// The size of an address space in bytes.
pub const SIZE: usize = 4 * GIB;

/// Makes the address space of a user program, with nothing mapped.
pub fn user<M: TestMachine>() -> AddrSpace<M> {
    AddrSpace::new_empty_user(virt(M::base()), SIZE).unwrap()
}

/// Returns start, end, rights, and what is behind each area.
pub fn areas<M: TestMachine>(space: &AddrSpace<M>) -> Vec<(usize, usize, MappingFlags, String)> {
    let areas = space.areas().map(|area| {
        let backend = format!("{:?}", area.backend());
        let (start, end) = (area.start().as_usize(), area.end().as_usize());
        (start, end, area.flags(), backend)
    });
    areas.collect()
}

/// Returns the byte at an address, or `None` if it cannot be read.
pub fn byte<M: TestMachine>(space: &AddrSpace<M>, addr: usize) -> Option<u8> {
    let mut byte = [0];
    space.read(virt(addr), &mut byte).ok().map(|()| byte[0])
}
