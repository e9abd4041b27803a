//! Unmapping, other rights, and clearing: what goes, what is left, and when memory is
//! short for taking large pages apart.

use std::ops::Range;

use axalloc::usage;
use axerrno::AxError;
use axmm::MappingFlags;
use proptest::prelude::*;

use super::outcome::{Outcome, failing};
use super::{Checked, Mapped, Place, SIZE, Verdict};
use crate::{NONE, TestMachine, virt};

/// The most frames that splitting the large pages at both ends of a range takes.
const SPLITS: usize = 4;

impl<M: TestMachine> Checked<M> {
    pub(super) fn unmap(&mut self, fail: usize, place: Place) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let free = usage().free;
        let (result, failed) = failing(fail, || self.aspace.unmap(virt(start), size));
        let expected = match atoms {
            None => Err(AxError::InvalidInput),
            Some(_) if failed || result.is_err() && free < SPLITS => Err(AxError::NoMemory),
            Some(atoms) => {
                self.model[atoms].fill(None);
                let range = start..start + size;
                self.own.split(&range, false);
                self.own.remove(&range);
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    pub(super) fn protect(
        &mut self,
        fail: usize,
        place: Place,
        flags: MappingFlags,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let range = start..start.saturating_add(size);
        let free = usage().free;
        let protect = || self.aspace.protect(virt(start), size, flags);
        let (result, failed) = failing(fail, protect);
        let expected = match atoms {
            Some(_) if !self.allowed(flags) => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if self.model[atoms.clone()].iter().any(Option::is_none) => {
                Err(AxError::NotFound)
            }
            Some(atoms) if flags == NONE && self.any_linear(&atoms) => Err(AxError::InvalidInput),
            Some(_) if failed || result.is_err() && free < self.splits(&range, flags) => {
                Err(AxError::NoMemory)
            }
            Some(atoms) => {
                let model = self.model[atoms].iter_mut().flatten();
                model.for_each(|atom| atom.flags = flags);
                self.own.split(&range, flags == NONE);
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    fn any_linear(&self, atoms: &Range<usize>) -> bool {
        let mut mapped = self.model[atoms.clone()].iter().flatten();
        mapped.any(Mapped::is_linear)
    }

    /// How many large pages are taken apart for all of `range` to have these rights, at
    /// most.
    fn splits(&self, range: &Range<usize>, flags: MappingFlags) -> usize {
        let runs = self.own.within(range).iter();
        match flags == NONE {
            true => runs.filter(|run| run.large).count(),
            false => SPLITS,
        }
    }

    pub(super) fn clear(&mut self, fail: usize) -> Verdict<Outcome> {
        let (result, failed) = failing(fail, || self.aspace.clear());
        prop_assert_eq!(result, Ok(()));
        prop_assert!(!failed, "clearing takes memory");
        self.model.fill(None);
        self.own.remove(&(self.base..self.base + SIZE));
        Ok(Outcome::default())
    }
}
