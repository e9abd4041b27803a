//! Where things lie: the address space is made of atoms, and what the model knows, it
//! knows of each.

use std::ops::Range;

use super::{Checked, Mapped, Place, Spot, Twist};
use crate::{GIB, KIB4, MIB2, TestMachine};

/// Bytes of the address space.
pub const SIZE: usize = 4 * GIB;
/// How many pages next to one another areas of pages are made of.
pub const PAGES: usize = 64;
/// Between these offsets, from `LARGE` on, lie areas of large pages.
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
/// The pages lie around the end of a GiB, where tables of all levels end.
const SMALL: usize = GIB - PAGES / 2 * KIB4;
const LARGE: usize = 2 * GIB;
/// The pages, what lies between, and the large ones.
pub const ATOMS: usize = PAGES + 1 + CUTS.len() - 1;

/// A part of the address space that operations cover as a whole or not at all.
pub fn bounds(atom: usize) -> usize {
    match atom.checked_sub(PAGES + 1) {
        None => SMALL + atom * KIB4,
        Some(cut) => LARGE + CUTS[cut],
    }
}

impl<M: TestMachine> Checked<M> {
    /// Where a place is, if all is well with it; and what to say.
    pub(super) fn range(&self, place: Place) -> (Option<Range<usize>>, usize, usize) {
        let start = self.base + bounds(place.first);
        let size = self.base + bounds(place.first + place.count) - start;
        let (start, size) = match place.twist {
            Twist::Fine => return (Some(place.first..place.first + place.count), start, size),
            Twist::MisalignedStart => (start + 8, size),
            Twist::MisalignedSize => (start, size - 1),
            Twist::Empty => (start, 0),
            Twist::Overflow => (start, start.wrapping_neg()),
            Twist::Below => (self.base - KIB4, KIB4 + size),
            Twist::Beyond => (start, self.base + SIZE - start + KIB4),
        };
        (None, start, size)
    }

    /// The addresses of an atom.
    pub(super) fn atom(&self, atom: usize) -> Range<usize> {
        self.base + bounds(atom)..self.base + bounds(atom + 1)
    }

    pub(super) fn spot(&self, Spot(atom, offset): Spot) -> usize {
        let atom = self.atom(atom);
        atom.start + offset % atom.len()
    }

    /// The atom that an address lies in.
    pub(super) fn atom_at(&self, addr: usize) -> Option<usize> {
        (0..ATOMS).find(|atom| self.atom(*atom).contains(&addr))
    }

    /// The area that an atom, which is mapped, lies in.
    pub(super) fn area(&self, atom: usize) -> Range<usize> {
        let same = |other: &usize| self.model[*other] == self.model[atom];
        let first = (0..=atom).rev().take_while(same).last().unwrap_or(atom);
        let last = (atom..ATOMS).take_while(same).last().unwrap_or(atom);
        self.atom(first).start..self.atom(last).end
    }

    pub(super) fn free(&self, atoms: &Range<usize>) -> bool {
        self.model[atoms.clone()].iter().all(Option::is_none)
    }

    /// The atoms that are mapped: their addresses, and what is there.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (Range<usize>, Mapped)> {
        let atoms = self.model.iter().enumerate();
        atoms.filter_map(|(atom, mapped)| mapped.map(|mapped| (self.atom(atom), mapped)))
    }
}
