//! Makes scripts of operations from the bytes of a fuzzer. All bytes make a script.

use arbitrary::{Arbitrary, Result, Unstructured};
use axmm::{Grain, MappingFlags};

use crate::memory::Hold;
use crate::model::{
    ATOMS, AtomRange, Defect, Location, Op, PAGES, SIZE, SpaceKind, Step, Target, start_of,
};
use crate::{DEVICE, EXECUTE, KIB4, MIB2, NONE, RO, RW, RX, UNCACHED, WRITE};

/// Rights that a kernel mapping may have, and some that it may not have.
const RIGHTS: [MappingFlags; 11] = [
    RW,
    RO,
    RX,
    NONE,
    DEVICE,
    UNCACHED,
    WRITE,
    RW.union(EXECUTE),
    RW.union(MappingFlags::USER),
    RX.union(MappingFlags::USER),
    MappingFlags::DEVICE,
];
/// The rights that accesses need.
const ACCESS: [MappingFlags; 6] = [RO, WRITE, EXECUTE, RW, NONE, RO.union(MappingFlags::USER)];
const DEFECTS: [Defect; 6] = [
    Defect::MisalignedStart,
    Defect::MisalignedSize,
    Defect::Empty,
    Defect::Overflow,
    Defect::Below,
    Defect::Beyond,
];
const TARGETS: [Target; 7] = [
    Target::Shifted(0),
    Target::Shifted(MIB2),
    Target::Shifted(KIB4),
    Target::High,
    Target::Misaligned,
    Target::Overflow,
    Target::TooHigh,
];

impl<'a> Arbitrary<'a> for SpaceKind {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match bytes.int_in_range(0..=3_u8)? {
            0 => Self::User,
            _ => Self::Kernel,
        })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let op = match bytes.int_in_range(0..=15_u8)? {
            0 | 1 => Op::Linear(atom_range(bytes)?, *bytes.choose(&TARGETS)?, rights(bytes)?),
            2..=4 => Op::Alloc(
                atom_range(bytes)?,
                rights(bytes)?,
                bytes.arbitrary()?,
                grain(bytes)?,
            ),
            5..=7 => Op::Unmap(atom_range(bytes)?),
            8..=10 => Op::Protect(atom_range(bytes)?, rights(bytes)?),
            11..=12 => Op::Fault(location(bytes)?, *bytes.choose(&ACCESS)?),
            13 => match bytes.arbitrary()? {
                true => Op::Read(location(bytes)?, offset(bytes)? * 3),
                false => Op::Write(location(bytes)?, offset(bytes)? * 3),
            },
            14 => find_free(bytes)?,
            _ => match bytes.int_in_range(0..=7_u8)? {
                0 => Op::Clear,
                2 => Op::CloneEager,
                1 => Op::Hold(Hold {
                    blocks: bytes.int_in_range(0..=8)?,
                    every: *bytes.choose(&[0, 0, 4, 32])?,
                    left: *bytes.choose(&[usize::MAX, usize::MAX, 4, 24])?,
                }),
                _ => Op::CanAccess(atom_range(bytes)?, offset(bytes)?, *bytes.choose(&ACCESS)?),
            },
        };
        let fails = bytes.int_in_range(0..=31_usize)?;
        Ok(Self(op, if fails < 8 { fails } else { 0 }))
    }
}

fn atom(bytes: &mut Unstructured) -> Result<usize> {
    // The atoms of one page are chosen most often: there areas are split and merged most.
    match bytes.ratio(3_u8, 5)? {
        true => bytes.int_in_range(0..=PAGES - 1),
        false => bytes.int_in_range(PAGES..=ATOMS - 1),
    }
}

fn offset(bytes: &mut Unstructured) -> Result<usize> {
    bytes.int_in_range(0..=KIB4 - 1)
}

/// Returns an address in the first pages of an atom, or anywhere in it.
fn location(bytes: &mut Unstructured) -> Result<Location> {
    let pages = *bytes.choose(&[1, 1, 1, 32, 4096])?;
    let page = bytes.int_in_range(0..=pages - 1)?;
    Ok(Location(atom(bytes)?, page * KIB4 + offset(bytes)?))
}

fn grain(bytes: &mut Unstructured) -> Result<Grain> {
    Ok(match bytes.int_in_range(0..=4_u8)? {
        0 | 1 => Grain::Page,
        2 | 3 => Grain::Large,
        _ => Grain::Around(*bytes.choose(&[1, 2, 4, 8, 16, 32, 64, 512, 3, 1024])?),
    })
}

fn rights(bytes: &mut Unstructured) -> Result<MappingFlags> {
    Ok(*bytes.choose(&RIGHTS)?)
}

fn atom_range(bytes: &mut Unstructured) -> Result<AtomRange> {
    let first = atom(bytes)?;
    let count = bytes.int_in_range(1..=ATOMS - first)?;
    let defect = bytes.int_in_range(0..=63_usize)?;
    Ok(AtomRange {
        first,
        count,
        defect: DEFECTS.get(defect).copied().unwrap_or(Defect::None),
    })
}

fn find_free(bytes: &mut Unstructured) -> Result<Op> {
    let mut near = || -> Result<usize> {
        let edge = start_of(bytes.int_in_range(0..=ATOMS)?);
        Ok(edge + *bytes.choose(&[0, 1, KIB4])?)
    };
    let (hint, size, a, b) = (near()?, near()?, near()?, near()?);
    let size = (size >> 9).next_multiple_of(KIB4) + size % KIB4;
    let limit = match bytes.arbitrary()? {
        true => (0, SIZE),
        false => (a.min(b), a.max(b)),
    };
    Ok(Op::FindFree { hint, size, limit })
}
