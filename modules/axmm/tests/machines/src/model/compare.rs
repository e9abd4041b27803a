//! Compares a whole address space with its model: what it returns for each page, the areas
//! that it lists, the pages that hardware finds, and the frames in use.

use std::ops::Range;

use axmm::{Backend, MappingFlags};
use proptest::prelude::*;

use super::{ATOMS, Backing, Mapped, Modelled, Verdict};
use crate::raw::Rights;
use crate::{KIB4, RAM, TestMachine, frames, virt};

/// A run of pages: its address, its size in bytes, its physical address and its rights.
type Run = (usize, usize, usize, Rights);

/// Adds a run, or extends the last one if both are contiguous.
fn push(runs: &mut Vec<Run>, (start, len, paddr, rights): Run) {
    if let Some(last) = runs.last_mut()
        && last.0 + last.1 == start
        && last.2.wrapping_add(last.1) == paddr
        && last.3 == rights
    {
        last.1 += len;
        return;
    }
    runs.push((start, len, paddr, rights));
}

/// An area: its start, its end, its rights and its backing.
type Area = (usize, usize, MappingFlags, Backing);

impl<M: TestMachine> Modelled<M> {
    /// Compares the whole address space with the model.
    pub(super) fn check(&self) -> Verdict {
        (0..ATOMS).try_for_each(|atom| self.check_query(atom))?;
        self.own.check_contents()?;
        self.check_areas()?;
        self.check_pages()?;
        self.check_page_sizes()?;
        let (pages, tables) = self.frames;
        let expected = (pages + self.own.count(), tables + self.raw.tables.len());
        prop_assert_eq!(frames(), expected);
        Ok(())
    }

    /// Compares the translations that `query` returns for both ends of an atom.
    fn check_query(&self, atom: usize) -> Verdict {
        let range = self.atom(atom);
        for addr in [range.start, range.end - 1] {
            let found = self.aspace.query(virt(addr));
            let Some(mapped) = self.model[atom] else {
                prop_assert!(found.is_none(), "{addr:#x} is translated to {found:?}");
                continue;
            };
            let translated = found.map(|page| {
                let within = addr - page.vaddr.as_usize();
                (page.paddr.as_usize() + within, self.rights(page.flags))
            });
            let frame = match mapped.backing {
                Backing::Linear(offset) => Some(addr.wrapping_sub(offset)),
                Backing::Alloc(..) => {
                    let run = self.own.at(addr);
                    run.map(|run| run.frame + addr - run.start)
                }
            };
            prop_assert_eq!(
                translated,
                frame.map(|frame| (frame, self.rights(mapped.flags)))
            );
        }
        Ok(())
    }

    /// Compares the list of areas. Contiguous atoms with the same state are one area.
    fn check_areas(&self) -> Verdict {
        let mut areas: Vec<Area> = Vec::new();
        for (Range { start, end }, Mapped { flags, backing }) in self.mapped() {
            match areas.last_mut() {
                Some(last) if (last.1, last.2, last.3) == (start, flags, backing) => last.1 = end,
                _ => areas.push((start, end, flags, backing)),
            }
        }
        let listed = self.aspace.areas().map(|area| {
            let backing = match *area.backend() {
                Backend::Linear { pa_va_offset, .. } => Backing::Linear(pa_va_offset),
                Backend::Alloc { populate, grain } => Backing::Alloc(populate, grain),
                Backend::Object(_) => unreachable!("the model maps no objects"),
            };
            let (start, end) = (area.start().as_usize(), area.end().as_usize());
            (start, end, area.flags(), backing)
        });
        prop_assert_eq!(listed.collect::<Vec<_>>(), areas);
        Ok(())
    }

    /// Compares the pages in the page table: all linear ones, and those that were faulted in
    /// or populated.
    fn check_pages(&self) -> Verdict {
        let mut runs = Vec::new();
        for (range, Mapped { flags, backing }) in self.mapped() {
            let rights = self.rights(flags);
            if let Backing::Linear(offset) = backing {
                let paddr = range.start.wrapping_sub(offset);
                push(&mut runs, (range.start, range.len(), paddr, rights));
            }
            for part in self.own.within(&range).iter().map(|run| run.part(&range)) {
                push(&mut runs, (part.start, part.len, part.frame, rights));
            }
        }
        let mut seen = Vec::new();
        for page in &self.raw.pages {
            push(&mut seen, (page.vaddr, page.size, page.paddr, page.rights));
        }
        prop_assert_eq!(seen, runs);
        Ok(())
    }

    /// Compares the sizes of pages with allocated frames. A large page stays large until a
    /// part of it changes.
    fn check_page_sizes(&self) -> Verdict {
        let mut large = self.own.large();
        for page in &self.raw.pages {
            if page.size != KIB4 && RAM.contains(&page.paddr) {
                prop_assert_eq!(Some((page.vaddr, page.size)), large.next());
            }
        }
        prop_assert_eq!(large.next(), None);
        Ok(())
    }
}
