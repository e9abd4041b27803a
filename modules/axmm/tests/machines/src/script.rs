//! Scripts of operations out of bytes: every string of bytes is one.

use arbitrary::{Arbitrary, Result, Unstructured};
use axmm::MappingFlags;

use crate::model::{ATOMS, Frames, Op, PAGES, Place, SIZE, Step, Twist, bounds};
use crate::{DEVICE, EXECUTE, KIB4, MIB2, NONE, RO, RW, RX, UNCACHED, WRITE};

/// Rights that a mapping of the kernel can have, and some that it cannot.
const RIGHTS: [MappingFlags; 10] = [
    RW,
    RO,
    RX,
    NONE,
    DEVICE,
    UNCACHED,
    WRITE,
    RW.union(EXECUTE),
    RW.union(MappingFlags::USER),
    MappingFlags::DEVICE,
];
/// What accesses ask for.
const ACCESS: [MappingFlags; 6] = [RO, WRITE, EXECUTE, RW, NONE, RO.union(MappingFlags::USER)];
const TWISTS: [Twist; 6] = [
    Twist::MisalignedStart,
    Twist::MisalignedSize,
    Twist::Empty,
    Twist::Overflow,
    Twist::Below,
    Twist::Beyond,
];
const LEADS: [Frames; 7] = [
    Frames::Shifted(0),
    Frames::Shifted(MIB2),
    Frames::Shifted(KIB4),
    Frames::High,
    Frames::Misaligned,
    Frames::Overflow,
    Frames::TooHigh,
];

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let op = match bytes.int_in_range(0..=15_u8)? {
            0 | 1 => Op::Linear(place(bytes)?, *bytes.choose(&LEADS)?, rights(bytes)?),
            2..=4 => Op::Alloc(place(bytes)?, rights(bytes)?, bytes.arbitrary()?),
            5..=7 => Op::Unmap(place(bytes)?),
            8..=10 => Op::Protect(place(bytes)?, rights(bytes)?),
            11..=13 => Op::Fault(atom(bytes)?, offset(bytes)?, *bytes.choose(&ACCESS)?),
            14 => find_free(bytes)?,
            _ => match bytes.ratio(1_u8, 8)? {
                true => Op::Clear,
                false => Op::CanAccess(place(bytes)?, offset(bytes)?, *bytes.choose(&ACCESS)?),
            },
        };
        let fails = bytes.int_in_range(0..=31_usize)?;
        Ok(Self(op, if fails < 8 { fails } else { 0 }))
    }
}

fn atom(bytes: &mut Unstructured) -> Result<usize> {
    // The small pages are where most can be cut and joined.
    match bytes.ratio(3_u8, 5)? {
        true => bytes.int_in_range(0..=PAGES - 1),
        false => bytes.int_in_range(PAGES..=ATOMS - 1),
    }
}

fn offset(bytes: &mut Unstructured) -> Result<usize> {
    bytes.int_in_range(0..=KIB4 - 1)
}

fn rights(bytes: &mut Unstructured) -> Result<MappingFlags> {
    Ok(*bytes.choose(&RIGHTS)?)
}

fn place(bytes: &mut Unstructured) -> Result<Place> {
    let first = atom(bytes)?;
    let count = bytes.int_in_range(1..=ATOMS - first)?;
    let twist = bytes.int_in_range(0..=63_usize)?;
    Ok(Place {
        first,
        count,
        twist: TWISTS.get(twist).copied().unwrap_or(Twist::Fine),
    })
}

fn find_free(bytes: &mut Unstructured) -> Result<Op> {
    let mut near = || -> Result<usize> {
        let edge = bounds(bytes.int_in_range(0..=ATOMS)?);
        Ok(edge + *bytes.choose(&[0, 1, KIB4])?)
    };
    let (hint, size, a, b) = (near()?, near()? >> 9, near()?, near()?);
    let limit = match bytes.arbitrary()? {
        true => (0, SIZE),
        false => (a.min(b), a.max(b)),
    };
    Ok(Op::FindFree { hint, size, limit })
}
