//! Page faults: which ones are resolved, and which pages they map.

use std::ops::Range;

use axmm::{Grain, MappingFlags};
use proptest::prelude::*;

use super::outcome::{Outcome, failing};
use super::{Backing, Location, Mapped, Modelled, Verdict};
use crate::memory::{BLOCK, Free};
use crate::raw::Format;
use crate::{KIB4, MIB2, NONE, TLB, TestMachine, virt};

impl<M: TestMachine> Modelled<M> {
    /// Handles a page fault.
    pub(super) fn fault(
        &mut self,
        fail: usize,
        location: Location,
        access: MappingFlags,
    ) -> Verdict<Outcome> {
        let vaddr = self.address(location);
        let mapped = self.model[location.0].filter(|atom| atom.flags.contains(access));
        let has_page = |mapped: Mapped| mapped.is_linear() || self.own.at(vaddr).is_some();
        let is_mapped = mapped.is_some_and(has_page);
        let wanted = mapped.map_or(1, Mapped::pages_of_fault);
        let free = Free::with_run_up_to(if is_mapped { 1 } else { wanted });
        let fault = || self.aspace.handle_page_fault(virt(vaddr), access);
        let (result, failed) = failing(fail, fault);
        // A fault on a mapped page comes from a stale TLB entry, which is flushed locally.
        let flushes = TLB.with_borrow(|tlb| tlb.local_flushes.len());
        prop_assert_eq!(flushes, usize::from(is_mapped));
        prop_assert!(!(is_mapped && failed), "a fault on a mapped page allocates");
        let new_pages = match mapped {
            Some(mapped) if !is_mapped && !failed => {
                self.pages_to_map(location.0, mapped, vaddr, free)
            }
            _ => Vec::new(),
        };
        prop_assert_eq!(result, is_mapped || !new_pages.is_empty());
        Ok(Outcome {
            failed: mapped.is_some() && !result,
            retried: mapped
                .is_some_and(|mapped| free.frames < mapped.pages_of_fault() + M::Raw::LEVELS),
            new_pages,
        })
    }

    /// Returns the pages that a fault at `vaddr` maps with this free memory.
    fn pages_to_map(
        &self,
        atom: usize,
        mapped: Mapped,
        vaddr: usize,
        free: Free,
    ) -> Vec<(usize, usize)> {
        let page = vaddr & !(KIB4 - 1);
        let tables = self.missing_tables(&(page..page + KIB4), KIB4);
        if free.frames < 1 + tables {
            return Vec::new();
        }
        let run = self.run_around(atom, mapped, page);
        match mapped.backing {
            Backing::Alloc(_, Grain::Large) if self.is_large(&run, mapped, free) => {
                vec![(run.start, MIB2)]
            }
            Backing::Alloc(_, Grain::Around(count)) => {
                let preallocated = free.run_of(count.into());
                // If no frame would be left for a table, the fault maps the page alone.
                let is_enough = free.frames >= preallocated + tables;
                let rest = if is_enough { preallocated - 1 } else { 0 };
                let missing = |at: &usize| *at != page && self.own.at(*at).is_none();
                let others = run.step_by(KIB4).filter(missing).take(rest);
                let pages = std::iter::once(page).chain(others);
                pages.map(|at| (at, KIB4)).collect()
            }
            _ => vec![(page, KIB4)],
        }
    }

    /// Returns whether a fault maps all of `run` as one large page.
    fn is_large(&self, run: &Range<usize>, mapped: Mapped, free: Free) -> bool {
        run.len() == MIB2
            && mapped.flags != NONE
            && self.own.within(run).is_empty()
            && free.longest_run >= BLOCK
            && free.frames >= BLOCK + self.missing_tables(run, MIB2)
    }

    /// Returns the addresses around `page` in which a fault there may map pages.
    pub(super) fn run_around(&self, atom: usize, mapped: Mapped, page: usize) -> Range<usize> {
        let size = mapped.pages_of_fault() * KIB4;
        let (area, start) = (self.area(atom), page & !(size - 1));
        start.max(area.start)..(start + size).min(area.end)
    }
}
