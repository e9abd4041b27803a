//! Mapping: which ranges are accepted, which pages are populated, and how much memory that
//! needs.

use std::ops::Range;

use axalloc::usage;
use axerrno::AxError;
use axmm::{Grain, MappingFlags};
use proptest::prelude::*;

use super::outcome::{Outcome, failing};
use super::{AtomRange, Backing, Mapped, Modelled, PAGES, Target, Verdict};
use crate::memory::{BLOCK, Free, blocks};
use crate::{GIB, KIB4, MIB2, MapPhysical, NONE, TestMachine, phys, virt};

/// The largest number of frames that a hart takes from the global pool at a time.
const BATCH: usize = 64;

/// Returns the aligned addresses in a range at which a large page fits.
fn large_pages(range: &Range<usize>) -> impl Iterator<Item = usize> + Clone + use<> {
    let first = range.start.next_multiple_of(MIB2);
    let end = range.end & !(MIB2 - 1);
    (first..end).step_by(MIB2)
}

/// Returns whether there are frames enough to populate a range of this size in bytes. Most
/// ranges outside the small atoms have more pages than there are frames.
fn can_be_populated(range: AtomRange, size: usize, grain: Grain) -> bool {
    range.first + range.count <= PAGES || grain == Grain::Large && size <= 3 * MIB2
}

impl<M: TestMachine> Modelled<M> {
    /// Maps a range to physical addresses.
    pub(super) fn linear(
        &mut self,
        fail: usize,
        range: AtomRange,
        to: Target,
        flags: MappingFlags,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(range);
        let (is_correct, paddr) = self.physical(to, start, size);
        let free = usage().free;
        let map = || {
            self.aspace
                .map_physical(virt(start), phys(paddr), size, flags)
        };
        let (result, failed) = failing(fail, map);
        let is_allowed = is_correct && self.allowed(flags) && flags != NONE;
        let expected = match atoms {
            Some(_) if !is_allowed => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if !self.are_free(&atoms) => Err(AxError::AlreadyExists),
            Some(_) if failed || result.is_err() && free < self.linear_tables(start, size) => {
                Err(AxError::NoMemory)
            }
            Some(atoms) => {
                let backing = Backing::Linear(start.wrapping_sub(paddr));
                self.model[atoms].fill(Some(Mapped { flags, backing }));
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    /// Returns the largest number of tables that a linear area needs.
    fn linear_tables(&self, start: usize, size: usize) -> usize {
        // Only short areas get physical addresses that force small pages.
        let inner = if size > 4 * MIB2 { MIB2 } else { KIB4 };
        self.missing_tables(&(start..start + size), inner) + 2
    }

    /// Returns whether the physical addresses are correct, and the first of them.
    fn physical(&self, to: Target, start: usize, size: usize) -> (bool, usize) {
        let one_to_one = (8 * GIB).wrapping_add(start.wrapping_sub(self.base));
        match to {
            // With this shift, small pages would need a table for each 2 MiB.
            Target::Shifted(KIB4) if size > 4 * MIB2 => (true, one_to_one),
            Target::Shifted(by) => (true, one_to_one + by),
            Target::High => (true, (1 << M::PHYS_BITS) - 16 * GIB + one_to_one),
            Target::Misaligned => (false, one_to_one + 8),
            Target::Overflow => (false, 0_usize.wrapping_sub(KIB4)),
            Target::TooHigh => (false, (1 << M::PHYS_BITS) + one_to_one),
        }
    }

    /// Maps a range to allocated frames.
    pub(super) fn alloc(
        &mut self,
        fail: usize,
        range: AtomRange,
        flags: MappingFlags,
        populate: bool,
        grain: Grain,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(range);
        let populate = populate && can_be_populated(range, size, grain);
        let addresses = start..start.saturating_add(size);
        let large = populate && grain == Grain::Large && flags != NONE;
        let wanted = if large {
            large_pages(&addresses).count()
        } else {
            0
        };
        let blocks = if wanted > 0 { blocks(wanted + 1) } else { 0 };
        let free = usage().free;
        let map = || match grain {
            Grain::Page => self.aspace.map_alloc(virt(start), size, flags, populate),
            _ => self
                .aspace
                .map_alloc_with(virt(start), size, flags, populate, grain),
        };
        let (result, failed) = failing(fail, map);
        let short = |this: &Self| {
            let tables = this.missing_tables(&addresses, KIB4);
            populate && free < size / KIB4 + tables
        };
        let mut outcome = Outcome::of(result);
        let expected = match atoms {
            Some(_) if !self.allowed(flags) || !grain.is_valid() => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if !self.are_free(&atoms) => Err(AxError::AlreadyExists),
            Some(_) if failed || result.is_err() && short(self) => Err(AxError::NoMemory),
            Some(atoms) => {
                let backing = Backing::Alloc(populate, grain);
                self.model[atoms].fill(Some(Mapped { flags, backing }));
                if populate {
                    outcome.new_pages = self.populated(&addresses, wanted, blocks)?;
                }
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(outcome)
    }

    /// Returns the pages that were populated. Up to `wanted` of them are large. Before, there
    /// was memory for `blocks` large pages.
    fn populated(
        &self,
        range: &Range<usize>,
        wanted: usize,
        blocks: usize,
    ) -> Verdict<Vec<(usize, usize)>> {
        let size = |at: usize| self.aspace.query(virt(at)).map(|page| page.size);
        let is_large = |at: &usize| size(*at) == Some(MIB2);
        let large: Vec<_> = large_pages(range).take(wanted).filter(is_large).collect();
        prop_assert!(large.len() <= blocks);
        // With one block more than wanted, no wanted block is split to get single frames.
        let others = range.len() / KIB4 - wanted * BLOCK + self.missing_tables(range, KIB4);
        prop_assert!(large.len() == wanted || blocks <= wanted || others + BATCH > BLOCK);
        prop_assert!(
            large.len() == wanted || Free::now().longest_run < BLOCK,
            "a small page was mapped, though a block is free"
        );
        let mut pages = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let len = if large.contains(&at) { MIB2 } else { KIB4 };
            pages.push((at, len));
            at += len;
        }
        Ok(pages)
    }
}
