//! Scripts of operations out of bytes: every string of bytes is one.

use arbitrary::{Arbitrary, Result, Unstructured};
use axmm::{Grain, MappingFlags};

use crate::memory::Hold;
use crate::model::{ATOMS, Frames, Op, PAGES, Place, SIZE, Spot, Step, Twist, Whose, bounds};
use crate::{DEVICE, EXECUTE, KIB4, MIB2, NONE, RO, RW, RX, UNCACHED, WRITE};

/// Rights that a mapping of the kernel can have, and some that it cannot.
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

impl<'a> Arbitrary<'a> for Whose {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match bytes.int_in_range(0..=3_u8)? {
            0 => Self::Users,
            _ => Self::Kernels,
        })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let op = match bytes.int_in_range(0..=15_u8)? {
            0 | 1 => Op::Linear(place(bytes)?, *bytes.choose(&LEADS)?, rights(bytes)?),
            2..=4 => Op::Alloc(
                place(bytes)?,
                rights(bytes)?,
                bytes.arbitrary()?,
                grain(bytes)?,
            ),
            5..=7 => Op::Unmap(place(bytes)?),
            8..=10 => Op::Protect(place(bytes)?, rights(bytes)?),
            11..=12 => Op::Fault(spot(bytes)?, *bytes.choose(&ACCESS)?),
            13 => match bytes.arbitrary()? {
                true => Op::Read(spot(bytes)?, offset(bytes)? * 3),
                false => Op::Write(spot(bytes)?, offset(bytes)? * 3),
            },
            14 => find_free(bytes)?,
            _ => match bytes.int_in_range(0..=7_u8)? {
                0 => Op::Clear,
                1 => Op::Hold(Hold {
                    blocks: bytes.int_in_range(0..=8)?,
                    every: *bytes.choose(&[0, 0, 4, 32])?,
                    left: *bytes.choose(&[usize::MAX, usize::MAX, 4, 24])?,
                }),
                _ => Op::CanAccess(place(bytes)?, offset(bytes)?, *bytes.choose(&ACCESS)?),
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

/// The first pages of an atom, or any.
fn spot(bytes: &mut Unstructured) -> Result<Spot> {
    let pages = *bytes.choose(&[1, 1, 1, 32, 4096])?;
    let page = bytes.int_in_range(0..=pages - 1)?;
    Ok(Spot(atom(bytes)?, page * KIB4 + offset(bytes)?))
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
    let (hint, size, a, b) = (near()?, near()?, near()?, near()?);
    let size = (size >> 9).next_multiple_of(KIB4) + size % KIB4;
    let limit = match bytes.arbitrary()? {
        true => (0, SIZE),
        false => (a.min(b), a.max(b)),
    };
    Ok(Op::FindFree { hint, size, limit })
}
