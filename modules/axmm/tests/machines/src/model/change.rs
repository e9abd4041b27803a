//! Unmap, protect and clear. They need memory only to split large pages.

use std::ops::Range;

use axalloc::usage;
use axerrno::AxError;
use axmm::MappingFlags;
use proptest::prelude::*;

use super::outcome::{Outcome, failing};
use super::{AtomRange, Mapped, Modelled, SIZE, Verdict};
use crate::{NONE, TestMachine, virt};

/// The largest number of tables needed to split the large pages at both ends of a range.
const SPLITS: usize = 4;

impl<M: TestMachine> Modelled<M> {
    /// Unmaps a range.
    pub(super) fn unmap(&mut self, fail: usize, range: AtomRange) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(range);
        let free = usage().free;
        let (result, failed) = failing(fail, || self.aspace.unmap(virt(start), size));
        let expected = match atoms {
            None => Err(AxError::InvalidInput),
            Some(_) if failed || result.is_err() && free < SPLITS => Err(AxError::NoMemory),
            Some(atoms) => {
                self.model[atoms].fill(None);
                let addresses = start..start + size;
                self.own.split(&addresses, false);
                self.own.remove(&addresses);
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    /// Changes the rights of a range.
    pub(super) fn protect(
        &mut self,
        fail: usize,
        range: AtomRange,
        flags: MappingFlags,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(range);
        let addresses = start..start.saturating_add(size);
        let free = usage().free;
        let protect = || self.aspace.protect(virt(start), size, flags);
        let (result, failed) = failing(fail, protect);
        let expected = match atoms {
            Some(_) if !self.allowed(flags) => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if self.model[atoms.clone()].iter().any(Option::is_none) => {
                Err(AxError::NotFound)
            }
            Some(atoms) if flags == NONE && self.is_any_linear(&atoms) => {
                Err(AxError::InvalidInput)
            }
            Some(_) if failed || result.is_err() && free < self.most_splits(&addresses, flags) => {
                Err(AxError::NoMemory)
            }
            Some(atoms) => {
                let model = self.model[atoms].iter_mut().flatten();
                model.for_each(|atom| atom.flags = flags);
                self.own.split(&addresses, flags == NONE);
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    fn is_any_linear(&self, atoms: &Range<usize>) -> bool {
        let mut mapped = self.model[atoms.clone()].iter().flatten();
        mapped.any(Mapped::is_linear)
    }

    /// Returns the largest number of large pages that are split so that all of `range` has
    /// these rights. A large page without rights is split completely.
    fn most_splits(&self, range: &Range<usize>, flags: MappingFlags) -> usize {
        let runs = self.own.within(range).iter();
        match flags == NONE {
            true => runs.filter(|run| run.large).count(),
            false => SPLITS,
        }
    }

    /// Unmaps all areas.
    pub(super) fn clear(&mut self, fail: usize) -> Verdict<Outcome> {
        let (result, failed) = failing(fail, || self.aspace.clear());
        prop_assert_eq!(result, Ok(()));
        prop_assert!(!failed, "clear has allocated memory");
        self.model.fill(None);
        self.own.remove(&(self.base..self.base + SIZE));
        Ok(Outcome::default())
    }
}
