//! The operations of a script, and the addresses that they use.

use axmm::{Grain, MappingFlags};

use crate::memory::Hold;

/// An error in a range of addresses.
#[derive(Clone, Copy, Debug)]
pub enum Defect {
    /// The range is correct.
    None,
    /// The start is not aligned.
    MisalignedStart,
    /// The size is not aligned.
    MisalignedSize,
    /// The size is 0.
    Empty,
    /// The end is beyond the highest address.
    Overflow,
    /// The range starts below the address space.
    Below,
    /// The range ends above the address space.
    Beyond,
}

/// A range of [atoms](super::atoms), with or without an error.
#[derive(Clone, Copy, Debug)]
pub struct AtomRange {
    pub first: usize,
    pub count: usize,
    pub defect: Defect,
}

/// An address: the number of an atom, and an offset in bytes. The offset is taken modulo the
/// size of the atom.
#[derive(Clone, Copy, Debug)]
pub struct Location(pub usize, pub usize);

/// The kind of an address space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SpaceKind {
    Kernel,
    User,
}

/// The physical addresses of a linear mapping.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Correct ones, which are this number of bytes above a fixed offset.
    Shifted(usize),
    /// The highest ones.
    High,
    /// The start is not aligned.
    Misaligned,
    /// The end is beyond the highest address.
    Overflow,
    /// They are too large for an entry.
    TooHigh,
}

/// An operation on an address space.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Linear(AtomRange, Target, MappingFlags),
    /// The last two say whether to populate, and the grain.
    Alloc(AtomRange, MappingFlags, bool, Grain),
    Unmap(AtomRange),
    Protect(AtomRange, MappingFlags),
    Fault(Location, MappingFlags),
    /// A copy of this number of bytes.
    Read(Location, usize),
    Write(Location, usize),
    Clear,
    CloneEager,
    Hold(Hold),
    FindFree {
        hint: usize,
        size: usize,
        limit: (usize, usize),
    },
    /// The range begins at this offset in bytes.
    CanAccess(AtomRange, usize, MappingFlags),
}

/// An operation, and the number of its first allocation that fails. All later ones fail as
/// well. 0 lets all succeed.
#[derive(Clone, Copy, Debug)]
pub struct Step(pub Op, pub usize);
