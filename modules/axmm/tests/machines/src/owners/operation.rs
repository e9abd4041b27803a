//! The operations, and how a fuzzer's bytes make some.

use arbitrary::{Arbitrary, Result, Unstructured};
use axmm::Grain;

use super::{MOST, Owners, PAGES, SHARED};
use crate::TestMachine;

/// Some operation on some object or address space.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    what: What,
    /// Selects the object or the address space.
    which: usize,
    /// The first page, and the number of pages.
    first: usize,
    count: usize,
    /// The number of the first allocation that is refused; 0 for none.
    fail: usize,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum ObjectOp {
    Write,
    Resize,
    Commit,
    Decommit,
    Zero,
    Snapshot,
    Pin,
    Unpin,
    DropHandle,
}

/// What is done to an address space. Numbers select an object or a place of [`SHARED`].
#[derive(Clone, Copy, Debug)]
pub(super) enum SpaceOp {
    MapShared(usize, usize),
    MapPrivate(usize),
    MapAnonymous(Grain),
    Unmap(Region),
    Write(Region),
    Fault(Region, bool),
    Fork,
    CloneEager,
    Drop,
}

/// A part of an address space.
#[derive(Clone, Copy, Debug)]
pub(super) enum Region {
    Shared(usize),
    Private,
    Anonymous,
}

#[derive(Clone, Copy, Debug)]
enum What {
    NewObject(bool),
    Object(ObjectOp),
    NewSpace,
    Space(SpaceOp),
    Check,
}

/// Where an operation works, and whether memory runs out.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The index of the object or the address space.
    pub at: usize,
    pub first: usize,
    pub count: usize,
    pub fail: usize,
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let what = match bytes.int_in_range(0..=15_u8)? {
            0 => match bytes.int_in_range(0..=3_u8)? {
                0 => What::NewSpace,
                kind => What::NewObject(kind == 1),
            },
            1..=6 => What::Object(object_op(bytes)?),
            7 => What::Check,
            _ => What::Space(space_op(bytes)?),
        };
        let which = bytes.int_in_range(0..=MOST)?;
        let first = bytes.int_in_range(0..=PAGES - 1)?;
        let count = bytes.int_in_range(1..=PAGES - first)?;
        let fail = bytes.int_in_range(0..=31_usize)?;
        Ok(Self {
            what,
            which,
            first,
            count,
            fail: if fail < 10 { fail } else { 0 },
        })
    }
}

fn object_op(bytes: &mut Unstructured) -> Result<ObjectOp> {
    use ObjectOp::*;
    let all = [
        Write, Write, Write, Resize, Commit, Decommit, Zero, Snapshot, Snapshot, Pin, Unpin, Unpin,
        DropHandle,
    ];
    Ok(*bytes.choose(&all)?)
}

fn space_op(bytes: &mut Unstructured) -> Result<SpaceOp> {
    Ok(match bytes.int_in_range(0..=15_u8)? {
        0 | 1 => SpaceOp::MapShared(
            bytes.int_in_range(0..=SHARED.len() - 1)?,
            bytes.int_in_range(0..=MOST)?,
        ),
        2 => SpaceOp::MapPrivate(bytes.int_in_range(0..=MOST)?),
        3 => {
            SpaceOp::MapAnonymous(*bytes.choose(&[Grain::Page, Grain::Around(4), Grain::Large])?)
        }
        4 => SpaceOp::Unmap(region(bytes)?),
        5..=8 => SpaceOp::Write(region(bytes)?),
        9..=12 => SpaceOp::Fault(region(bytes)?, bytes.arbitrary()?),
        13 => SpaceOp::Fork,
        14 => SpaceOp::CloneEager,
        _ => SpaceOp::Drop,
    })
}

fn region(bytes: &mut Unstructured) -> Result<Region> {
    Ok(match bytes.int_in_range(0..=SHARED.len() + 1)? {
        0 => Region::Private,
        1 => Region::Anonymous,
        place => Region::Shared(place - 2),
    })
}

impl<M: TestMachine> Owners<M> {
    /// Performs an operation. One on an object or an address space that does not exist does
    /// nothing.
    pub(super) fn perform(&mut self, operation: Operation) {
        let place = |all: usize| {
            (operation.which < all).then_some(Place {
                at: operation.which,
                first: operation.first,
                count: operation.count,
                fail: operation.fail,
            })
        };
        match operation.what {
            What::NewObject(is_resizable) => {
                self.new_object(is_resizable, operation.first + 1, operation.fail);
            }
            What::Object(op) => {
                if let Some(place) = place(self.objects.len()) {
                    self.object_op(op, place);
                }
            }
            What::NewSpace => self.new_space(),
            What::Space(op) => {
                if let Some(place) = place(self.spaces.len()) {
                    self.space_op(op, place);
                }
            }
            What::Check => self.check_all(),
        }
        self.remove_unused();
    }
}
