//! Page faults: which are answered, and which pages come then.

use std::ops::Range;

use axmm::{Grain, MappingFlags};
use proptest::prelude::*;

use super::outcome::{Outcome, failing};
use super::{Behind, Checked, Mapped, Spot, Verdict};
use crate::memory::{BLOCK, Free};
use crate::raw::Format;
use crate::{KIB4, MIB2, NONE, TLB, TestMachine, virt};

impl<M: TestMachine> Checked<M> {
    pub(super) fn fault(
        &mut self,
        fail: usize,
        spot: Spot,
        access: MappingFlags,
    ) -> Verdict<Outcome> {
        let vaddr = self.spot(spot);
        let mapped = self.model[spot.0].filter(|atom| atom.flags.contains(access));
        let is_there = |mapped: Mapped| mapped.is_linear() || self.own.at(vaddr).is_some();
        let there = mapped.is_some_and(is_there);
        let row = mapped.map_or(1, Mapped::brings);
        let free = Free::row_up_to(if there { 1 } else { row });
        let fault = || self.aspace.handle_page_fault(virt(vaddr), access);
        let (result, failed) = failing(fail, fault);
        // A stale translation is forgotten where it was met.
        let here = TLB.with_borrow(|tlb| tlb.local_flushes.len());
        prop_assert_eq!(here, usize::from(there));
        prop_assert!(!(there && failed), "a page that is there takes memory");
        let fresh = match mapped {
            Some(mapped) if !there && !failed => self.brings(spot.0, mapped, vaddr, free),
            _ => Vec::new(),
        };
        prop_assert_eq!(result, there || !fresh.is_empty());
        Ok(Outcome {
            failed: mapped.is_some() && !result,
            retried: mapped.is_some_and(|mapped| free.frames < mapped.brings() + M::Raw::LEVELS),
            fresh,
        })
    }

    /// The pages that a fault at `vaddr` brings, where so much memory is free.
    fn brings(&self, atom: usize, mapped: Mapped, vaddr: usize, free: Free) -> Vec<(usize, usize)> {
        let page = vaddr & !(KIB4 - 1);
        let tables = self.missing_tables(&(page..page + KIB4), KIB4);
        if free.frames < 1 + tables {
            return Vec::new();
        }
        let run = self.run_around(atom, mapped, page);
        match mapped.behind {
            Behind::Alloc(_, Grain::Large) if self.is_large(&run, mapped, free) => {
                vec![(run.start, MIB2)]
            }
            Behind::Alloc(_, Grain::Around(count)) => {
                let row = free.row_of(count.into());
                // With all of them in hand there would be none for a table.
                let spare = free.frames >= row + tables;
                let rest = if spare { row - 1 } else { 0 };
                let missing = |at: &usize| *at != page && self.own.at(*at).is_none();
                let others = run.step_by(KIB4).filter(missing).take(rest);
                let pages = std::iter::once(page).chain(others);
                pages.map(|at| (at, KIB4)).collect()
            }
            _ => vec![(page, KIB4)],
        }
    }

    /// Whether all of `run` comes as one large page.
    fn is_large(&self, run: &Range<usize>, mapped: Mapped, free: Free) -> bool {
        run.len() == MIB2
            && mapped.flags != NONE
            && self.own.within(run).is_empty()
            && free.row >= BLOCK
            && free.frames >= BLOCK + self.missing_tables(run, MIB2)
    }

    /// As far as a fault at `page` may bring any.
    pub(super) fn run_around(&self, atom: usize, mapped: Mapped, page: usize) -> Range<usize> {
        let size = mapped.brings() * KIB4;
        let (area, start) = (self.area(atom), page & !(size - 1));
        start.max(area.start)..(start + size).min(area.end)
    }
}
