//! Mapping: where it may be, what is there from the start, and when memory is short
//! for it.

use std::ops::Range;

use axalloc::usage;
use axerrno::AxError;
use axmm::{Grain, MappingFlags};
use proptest::prelude::*;

use super::outcome::{Outcome, failing};
use super::{Behind, Checked, Frames, Mapped, PAGES, Place, Verdict};
use crate::memory::{BLOCK, Free, blocks};
use crate::{GIB, KIB4, MIB2, MapPhysical, NONE, TestMachine, phys, virt};

/// How many frames a hart takes from the free ones at a time, at most.
const BATCH: usize = 64;

/// The aligned stretches of a large page that lie in a range.
fn stretches(range: &Range<usize>) -> impl Iterator<Item = usize> + Clone + use<> {
    let first = range.start.next_multiple_of(MIB2);
    let end = range.end & !(MIB2 - 1);
    (first..end).step_by(MIB2)
}

/// Whether all of an area may be mapped at once: frames are few, and pages that are small
/// many.
fn has_frames_for(place: Place, size: usize, grain: Grain) -> bool {
    place.first + place.count <= PAGES || grain == Grain::Large && size <= 3 * MIB2
}

impl<M: TestMachine> Checked<M> {
    pub(super) fn linear(
        &mut self,
        fail: usize,
        place: Place,
        to: Frames,
        flags: MappingFlags,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let (good, paddr) = self.leads_to(to, start, size);
        let free = usage().free;
        let map = || {
            self.aspace
                .map_physical(virt(start), phys(paddr), size, flags)
        };
        let (result, failed) = failing(fail, map);
        let ok = good && self.allowed(flags) && flags != NONE;
        let expected = match atoms {
            Some(_) if !ok => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if !self.free(&atoms) => Err(AxError::AlreadyExists),
            Some(_) if failed || result.is_err() && free < self.linear_tables(start, size) => {
                Err(AxError::NoMemory)
            }
            Some(atoms) => {
                let behind = Behind::Linear(start.wrapping_sub(paddr));
                self.model[atoms].fill(Some(Mapped { flags, behind }));
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(Outcome::of(result))
    }

    /// How many tables a linear area takes, at most.
    fn linear_tables(&self, start: usize, size: usize) -> usize {
        // Only what is short is mapped to where pages must be small.
        let inner = if size > 4 * MIB2 { MIB2 } else { KIB4 };
        self.missing_tables(&(start..start + size), inner) + 2
    }

    /// Whether memory can be there, and where.
    fn leads_to(&self, to: Frames, start: usize, size: usize) -> (bool, usize) {
        let one_to_one = (8 * GIB).wrapping_add(start.wrapping_sub(self.base));
        match to {
            // That takes a table for every 2 MiB.
            Frames::Shifted(KIB4) if size > 4 * MIB2 => (true, one_to_one),
            Frames::Shifted(by) => (true, one_to_one + by),
            Frames::High => (true, (1 << M::PHYS_BITS) - 16 * GIB + one_to_one),
            Frames::Misaligned => (false, one_to_one + 8),
            Frames::Overflow => (false, 0_usize.wrapping_sub(KIB4)),
            Frames::TooHigh => (false, (1 << M::PHYS_BITS) + one_to_one),
        }
    }

    pub(super) fn alloc(
        &mut self,
        fail: usize,
        place: Place,
        flags: MappingFlags,
        all: bool,
        grain: Grain,
    ) -> Verdict<Outcome> {
        let (atoms, start, size) = self.range(place);
        let all = all && has_frames_for(place, size, grain);
        let range = start..start.saturating_add(size);
        let large = all && grain == Grain::Large && flags != NONE;
        let wanted = if large { stretches(&range).count() } else { 0 };
        let blocks = if wanted > 0 { blocks(wanted + 1) } else { 0 };
        let free = usage().free;
        let map = || match grain {
            Grain::Page => self.aspace.map_alloc(virt(start), size, flags, all),
            _ => self
                .aspace
                .map_alloc_with(virt(start), size, flags, all, grain),
        };
        let (result, failed) = failing(fail, map);
        let short = |this: &Self| {
            let tables = this.missing_tables(&range, KIB4);
            all && free < size / KIB4 + tables
        };
        let mut outcome = Outcome::of(result);
        let expected = match atoms {
            Some(_) if !self.allowed(flags) || !grain.is_valid() => Err(AxError::InvalidInput),
            None => Err(AxError::InvalidInput),
            Some(atoms) if !self.free(&atoms) => Err(AxError::AlreadyExists),
            Some(_) if failed || result.is_err() && short(self) => Err(AxError::NoMemory),
            Some(atoms) => {
                let behind = Behind::Alloc(all, grain);
                self.model[atoms].fill(Some(Mapped { flags, behind }));
                if all {
                    outcome.fresh = self.populated(&range, wanted, blocks)?;
                }
                Ok(())
            }
        };
        prop_assert_eq!(result, expected);
        Ok(outcome)
    }

    /// The pages that have been mapped from the start, of which `wanted` may be large, by
    /// whoever had at least so many `blocks`.
    fn populated(
        &self,
        range: &Range<usize>,
        wanted: usize,
        blocks: usize,
    ) -> Verdict<Vec<(usize, usize)>> {
        let size = |at: usize| self.aspace.query(virt(at)).map(|page| page.size);
        let is_large = |at: &usize| size(*at) == Some(MIB2);
        let large: Vec<_> = stretches(range).take(wanted).filter(is_large).collect();
        prop_assert!(large.len() <= blocks);
        // With one more block there is no need to take any of them apart.
        let others = range.len() / KIB4 - wanted * BLOCK + self.missing_tables(range, KIB4);
        prop_assert!(large.len() == wanted || blocks <= wanted || others + BATCH > BLOCK);
        prop_assert!(
            large.len() == wanted || Free::now().row < BLOCK,
            "a block is left"
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
