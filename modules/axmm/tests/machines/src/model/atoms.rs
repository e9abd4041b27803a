//! The addresses of the model. An address space is divided into atoms: operations cover an
//! atom completely or not at all, so the model keeps one state for each.

use std::ops::Range;

use super::{AtomRange, Defect, Location, Mapped, Modelled};
use crate::{GIB, KIB4, MIB2, TestMachine};

/// The size of the address space in bytes.
pub const SIZE: usize = 4 * GIB;
/// The number of atoms of one page. They are contiguous.
pub const PAGES: usize = 64;
/// The boundaries of the larger atoms, as offsets from `LARGE`. Large pages fit between some
/// of them.
const CUTS: [usize; 20] = [
    0,
    KIB4,
    MIB2,
    MIB2 + KIB4,
    2 * MIB2 - KIB4,
    2 * MIB2,
    3 * MIB2,
    4 * MIB2,
    GIB / 2,
    GIB - MIB2,
    GIB - KIB4,
    GIB,
    GIB + KIB4,
    GIB + MIB2,
    GIB + 3 * MIB2 - KIB4,
    GIB + 3 * MIB2,
    2 * GIB - MIB2 - KIB4,
    2 * GIB - MIB2,
    2 * GIB - KIB4,
    2 * GIB,
];
/// The offset of the atoms of one page. Tables of all levels end in the middle of them.
const SMALL: usize = GIB - PAGES / 2 * KIB4;
/// The offset of the larger atoms.
const LARGE: usize = 2 * GIB;
/// The number of atoms: those of one page, one between `SMALL` and `LARGE`, the larger ones.
pub const ATOMS: usize = PAGES + 1 + CUTS.len() - 1;

/// Returns the offset at which an atom starts. It is the end of the atom before.
pub fn start_of(atom: usize) -> usize {
    match atom.checked_sub(PAGES + 1) {
        None => SMALL + atom * KIB4,
        Some(cut) => LARGE + CUTS[cut],
    }
}

impl<M: TestMachine> Modelled<M> {
    /// Returns the atoms of a range, or `None` if it has an error. Then returns the start
    /// address and the size in bytes that the operation is called with.
    pub(super) fn range(&self, range: AtomRange) -> (Option<Range<usize>>, usize, usize) {
        let end = range.first + range.count;
        let start = self.base + start_of(range.first);
        let size = self.base + start_of(end) - start;
        let (start, size) = match range.defect {
            Defect::None => return (Some(range.first..end), start, size),
            Defect::MisalignedStart => (start + 8, size),
            Defect::MisalignedSize => (start, size - 1),
            Defect::Empty => (start, 0),
            Defect::Overflow => (start, start.wrapping_neg()),
            Defect::Below => (self.base - KIB4, KIB4 + size),
            Defect::Beyond => (start, self.base + SIZE - start + KIB4),
        };
        (None, start, size)
    }

    /// Returns the addresses of an atom.
    pub(super) fn atom(&self, atom: usize) -> Range<usize> {
        self.base + start_of(atom)..self.base + start_of(atom + 1)
    }

    /// Returns the address of a location.
    pub(super) fn address(&self, Location(atom, offset): Location) -> usize {
        let atom = self.atom(atom);
        atom.start + offset % atom.len()
    }

    /// Returns the number of the atom that contains `addr`.
    pub(super) fn atom_at(&self, addr: usize) -> Option<usize> {
        (0..ATOMS).find(|atom| self.atom(*atom).contains(&addr))
    }

    /// Returns the area that contains a mapped atom.
    pub(super) fn area(&self, atom: usize) -> Range<usize> {
        let same = |other: &usize| self.model[*other] == self.model[atom];
        let first = (0..=atom).rev().take_while(same).last().unwrap_or(atom);
        let last = (atom..ATOMS).take_while(same).last().unwrap_or(atom);
        self.atom(first).start..self.atom(last).end
    }

    /// Returns whether all of these atoms are unmapped.
    pub(super) fn are_free(&self, atoms: &Range<usize>) -> bool {
        self.model[atoms.clone()].iter().all(Option::is_none)
    }

    /// Returns the addresses and the state of each mapped atom.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (Range<usize>, Mapped)> {
        let atoms = self.model.iter().enumerate();
        atoms.filter_map(|(atom, mapped)| mapped.map(|mapped| (self.atom(atom), mapped)))
    }
}
