//! Copies into the address space, or out of it: how far they get, which pages come on the
//! way, and that the same bytes are at both ends.

use std::ops::Range;

use axalloc::usage;
use axmm::{Grain, MappingFlags};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::outcome::{Outcome, failing};
use super::{Behind, Checked, Mapped, Spot, Verdict};
use crate::memory::{BLOCK, Free};
use crate::raw::Format;
use crate::{KIB4, MIB2, RO, TestMachine, bytes, virt};

impl<M: TestMachine> Checked<M> {
    /// A copy into the address space, or out of it, page by page.
    pub(super) fn copy(
        &mut self,
        fail: usize,
        spot: Spot,
        size: usize,
        access: MappingFlags,
    ) -> Verdict<Outcome> {
        let start = self.spot(spot);
        let range = start..start + size.min(self.before_linear(start));
        let mut buffer: Vec<u8> = range.clone().map(|at| (at % 253) as u8 | 1).collect();
        let copy = || match access == RO {
            true => self.aspace.read_some(virt(start), &mut buffer),
            false => self.aspace.write_some(virt(start), &buffer),
        };
        let (done, failed) = failing(fail, copy);
        let free = usage().free;
        let short = failed || free < M::Raw::LEVELS;
        let mut outcome = Outcome {
            retried: free < BLOCK + M::Raw::LEVELS,
            ..Outcome::default()
        };
        let end = self.copy_ends(range, access, short.then_some(start + done), &mut outcome)?;
        prop_assert_eq!(start + done, end);
        self.copied(start..end, &buffer, access != RO)?;
        Ok(outcome)
    }

    /// Where a copy ends: at what it may not reach or, if memory was short at `short_at`,
    /// at a page that has not come.
    fn copy_ends(
        &self,
        range: Range<usize>,
        access: MappingFlags,
        short_at: Option<usize>,
        outcome: &mut Outcome,
    ) -> Verdict<usize> {
        let mut at = range.start;
        while at < range.end
            && let Some((atom, mapped)) = self.accessible(at, access)
        {
            let page = at & !(KIB4 - 1);
            if self.own.at(page).is_none() && !outcome.brought(page) {
                if short_at == Some(at) {
                    outcome.failed = true;
                    break;
                }
                self.has_brought(atom, mapped, page, outcome)?;
            }
            at = (page + KIB4).min(range.end);
        }
        Ok(at)
    }

    /// How far it is to where frames are not the model's own, and no memory.
    fn before_linear(&self, addr: usize) -> usize {
        let mut linear = self.mapped().filter(|(_, mapped)| mapped.is_linear());
        let next = linear.find(|(range, _)| range.end > addr);
        next.map_or(usize::MAX, |(range, _)| range.start.saturating_sub(addr))
    }

    /// The atom at an address that a copy may reach.
    fn accessible(&self, addr: usize, access: MappingFlags) -> Option<(usize, Mapped)> {
        let atom = self.atom_at(addr)?;
        let mapped = self.model[atom]?;
        let may = mapped.flags.contains(access) && !mapped.flags.contains(MappingFlags::DEVICE);
        may.then_some((atom, mapped))
    }

    /// Adds to `outcome` what the fault has brought that a copy met at `page`: all that it
    /// could, or there is no memory for it now.
    fn has_brought(
        &self,
        atom: usize,
        mapped: Mapped,
        page: usize,
        outcome: &mut Outcome,
    ) -> Verdict {
        let run = self.run_around(atom, mapped, page);
        let missing = |at: &usize| self.own.at(*at).is_none() && !outcome.brought(*at);
        let missing: Vec<_> = run.clone().step_by(KIB4).filter(missing).collect();
        let size = |at: usize| self.aspace.query(virt(at)).map(|page| page.size);
        let (pages, wanted): (Vec<_>, _) = match mapped.behind {
            Behind::Alloc(_, Grain::Large) => {
                let size = size(page).unwrap_or(KIB4);
                let whole = run.len() == MIB2 && missing.len() == BLOCK;
                let wanted = if whole { MIB2 } else { KIB4 };
                (vec![(page & !(size - 1), size)], wanted)
            }
            _ => {
                let there = missing.iter().filter(|at| size(**at).is_some());
                (there.map(|at| (*at, KIB4)).collect(), missing.len() * KIB4)
            }
        };
        let bytes: usize = pages.iter().map(|(_, len)| len).sum();
        // The hand asks for the grain's row, however little of it lies in the area.
        let row = match mapped.behind {
            Behind::Alloc(_, Grain::Around(pages)) => usize::from(pages),
            _ => run.len().next_power_of_two() / KIB4,
        };
        let short = || Free::now().row < row;
        prop_assert!(bytes == wanted || bytes < wanted && short());
        outcome.fresh.extend(pages);
        Ok(())
    }

    /// What has been copied is at both ends. Then it is as if nothing had been written.
    fn copied(&self, range: Range<usize>, expected: &[u8], wrote: bool) -> Verdict {
        let mut at = range.start;
        while at < range.end {
            let end = (at & !(KIB4 - 1)).saturating_add(KIB4).min(range.end);
            let Some(page) = self.aspace.query(virt(at)) else {
                return Err(TestCaseError::fail(format!("nothing is at {at:#x}")));
            };
            let frame = page.paddr.as_usize() + (at & !(KIB4 - 1)) - page.vaddr.as_usize();
            let there = &mut bytes(frame)[at % KIB4..][..end - at];
            prop_assert!(*there == expected[at - range.start..end - range.start]);
            if wrote && self.own.at(at).is_none() {
                there.fill(0);
            }
            at = end;
        }
        if wrote {
            self.own.stamp_again(&range);
        }
        Ok(())
    }
}
