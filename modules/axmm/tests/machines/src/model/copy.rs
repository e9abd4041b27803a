//! Copies into the address space or out of it: how many bytes are copied, which pages are
//! faulted in, and whether both ends have the same bytes.

use std::ops::Range;

use axalloc::usage;
use axmm::{Grain, MappingFlags};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::outcome::{Outcome, failing};
use super::{Backing, Location, Mapped, Modelled, Verdict};
use crate::memory::{BLOCK, Free};
use crate::raw::Format;
use crate::{KIB4, MIB2, RO, TestMachine, bytes, virt};

impl<M: TestMachine> Modelled<M> {
    /// Copies `size` bytes. `access` says in which direction.
    pub(super) fn copy(
        &mut self,
        fail: usize,
        location: Location,
        size: usize,
        access: MappingFlags,
    ) -> Verdict<Outcome> {
        let start = self.address(location);
        let range = start..start + size.min(self.bytes_to_linear(start));
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
        let end = self.end_of_copy(range, access, short.then_some(start + done), &mut outcome)?;
        prop_assert_eq!(start + done, end);
        self.check_copied(start..end, &buffer, access != RO)?;
        Ok(outcome)
    }

    /// Returns the address where a copy ends: at a page without the rights, or at `short_at` if
    /// there was no memory for the page there.
    fn end_of_copy(
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
            if self.own.at(page).is_none() && !outcome.has_mapped(page) {
                if short_at == Some(at) {
                    outcome.failed = true;
                    break;
                }
                self.add_fault(atom, mapped, page, outcome)?;
            }
            at = (page + KIB4).min(range.end);
        }
        Ok(at)
    }

    /// Returns the number of bytes from `addr` to the next linear area. Its physical addresses
    /// are no memory.
    fn bytes_to_linear(&self, addr: usize) -> usize {
        let mut linear = self.mapped().filter(|(_, mapped)| mapped.is_linear());
        let next = linear.find(|(range, _)| range.end > addr);
        next.map_or(usize::MAX, |(range, _)| range.start.saturating_sub(addr))
    }

    /// Returns the atom at an address, if a copy may access it.
    fn accessible(&self, addr: usize, access: MappingFlags) -> Option<(usize, Mapped)> {
        let atom = self.atom_at(addr)?;
        let mapped = self.model[atom]?;
        let allows = mapped.flags.contains(access) && !mapped.flags.contains(MappingFlags::DEVICE);
        allows.then_some((atom, mapped))
    }

    /// Adds the pages to `outcome` that a fault at `page` has mapped for a copy. They are all
    /// that the grain asks for, unless there is too little memory.
    fn add_fault(
        &self,
        atom: usize,
        mapped: Mapped,
        page: usize,
        outcome: &mut Outcome,
    ) -> Verdict {
        let run = self.run_around(atom, mapped, page);
        let missing = |at: &usize| self.own.at(*at).is_none() && !outcome.has_mapped(*at);
        let missing: Vec<_> = run.clone().step_by(KIB4).filter(missing).collect();
        let size = |at: usize| self.aspace.query(virt(at)).map(|page| page.size);
        let (pages, wanted): (Vec<_>, _) = match mapped.backing {
            Backing::Alloc(_, Grain::Large) => {
                let size = size(page).unwrap_or(KIB4);
                let whole = run.len() == MIB2 && missing.len() == BLOCK;
                let wanted = if whole { MIB2 } else { KIB4 };
                (vec![(page & !(size - 1), size)], wanted)
            }
            _ => {
                let mapped = missing.iter().filter(|at| size(**at).is_some());
                (mapped.map(|at| (*at, KIB4)).collect(), missing.len() * KIB4)
            }
        };
        let bytes: usize = pages.iter().map(|(_, len)| len).sum();
        // A run of the grain's size is asked for, even if less of it lies in the area.
        let asked = match mapped.backing {
            Backing::Alloc(_, Grain::Around(pages)) => usize::from(pages),
            _ => run.len().next_power_of_two() / KIB4,
        };
        let short = || Free::now().longest_run < asked;
        prop_assert!(bytes == wanted || bytes < wanted && short());
        outcome.new_pages.extend(pages);
        Ok(())
    }

    /// Checks that the copied bytes are at both ends. Then restores what the pages held.
    fn check_copied(&self, range: Range<usize>, expected: &[u8], wrote: bool) -> Verdict {
        let mut at = range.start;
        while at < range.end {
            let end = (at & !(KIB4 - 1)).saturating_add(KIB4).min(range.end);
            let Some(page) = self.aspace.query(virt(at)) else {
                return Err(TestCaseError::fail(format!("no page is mapped at {at:#x}")));
            };
            let frame = page.paddr.as_usize() + (at & !(KIB4 - 1)) - page.vaddr.as_usize();
            let contents = &mut bytes(frame)[at % KIB4..][..end - at];
            prop_assert!(*contents == expected[at - range.start..end - range.start]);
            if wrote && self.own.at(at).is_none() {
                contents.fill(0);
            }
            at = end;
        }
        if wrote {
            self.own.restore_stamps(&range);
        }
        Ok(())
    }
}
