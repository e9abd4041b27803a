//! What a step of a script asks of an address space, and where.

use axmm::{Grain, MappingFlags};

use crate::memory::Hold;

/// What is wrong with a range.
#[derive(Clone, Copy, Debug)]
pub enum Twist {
    Fine,
    MisalignedStart,
    MisalignedSize,
    Empty,
    Overflow,
    Below,
    Beyond,
}

/// Atoms in a row, and what is wrong with them as a range.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub first: usize,
    pub count: usize,
    pub twist: Twist,
}

/// An atom, and an offset in it, by so many bytes from its start or, if it is shorter,
/// from its start again.
#[derive(Clone, Copy, Debug)]
pub struct Spot(pub usize, pub usize);

/// Whose address space it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    Kernels,
    Users,
}

/// Where a linear area leads.
#[derive(Clone, Copy, Debug)]
pub enum Frames {
    /// So far from where its addresses would be one to one.
    Shifted(usize),
    High,
    Misaligned,
    Overflow,
    TooHigh,
}

/// An operation of an address space.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Linear(Place, Frames, MappingFlags),
    Alloc(Place, MappingFlags, bool, Grain),
    Unmap(Place),
    Protect(Place, MappingFlags),
    Fault(Spot, MappingFlags),
    Read(Spot, usize),
    Write(Spot, usize),
    Clear,
    Hold(Hold),
    FindFree {
        hint: usize,
        size: usize,
        limit: (usize, usize),
    },
    CanAccess(Place, usize, MappingFlags),
}

/// An operation, and which of its allocations fails; 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct Step(pub Op, pub usize);
