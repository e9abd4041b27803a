//! The whole address space beside the model: what it says of each page, the areas it
//! lists, what hardware finds, and the frames in use.

use std::ops::Range;

use axmm::{Backend, MappingFlags};
use proptest::prelude::*;

use super::{ATOMS, Behind, Checked, Mapped, Verdict};
use crate::raw::Rights;
use crate::{KIB4, RAM, TestMachine, frames, virt};

/// Runs of pages: where, how long, to which frames, with which rights.
type Run = (usize, usize, usize, Rights);

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

/// An area: from where to where, with which rights, and what is behind it.
type Area = (usize, usize, MappingFlags, Behind);

impl<M: TestMachine> Checked<M> {
    pub(super) fn is_right(&self) -> Verdict {
        (0..ATOMS).try_for_each(|atom| self.ends_are_right(atom))?;
        self.own.is_kept()?;
        self.areas_are_right()?;
        self.pages_are_right()?;
        self.sizes_are_right()?;
        let (pages, tables) = self.frames;
        let expected = (pages + self.own.count(), tables + self.raw.tables.len());
        prop_assert_eq!(frames(), expected);
        Ok(())
    }

    /// The address space says where both ends of an atom lead.
    fn ends_are_right(&self, atom: usize) -> Verdict {
        let range = self.atom(atom);
        for addr in [range.start, range.end - 1] {
            let found = self.aspace.query(virt(addr));
            let Some(mapped) = self.model[atom] else {
                prop_assert!(found.is_none(), "{addr:#x} leads to {found:?}");
                continue;
            };
            let says = found.map(|page| {
                let within = addr - page.vaddr.as_usize();
                (page.paddr.as_usize() + within, self.rights(page.flags))
            });
            let frame = match mapped.behind {
                Behind::Linear(offset) => Some(addr.wrapping_sub(offset)),
                Behind::Alloc(..) => {
                    let run = self.own.at(addr);
                    run.map(|run| run.frame + addr - run.start)
                }
            };
            prop_assert_eq!(says, frame.map(|frame| (frame, self.rights(mapped.flags))));
        }
        Ok(())
    }

    /// The address space lists its areas: atoms in a row that are alike are one.
    fn areas_are_right(&self) -> Verdict {
        let mut areas: Vec<Area> = Vec::new();
        for (Range { start, end }, Mapped { flags, behind }) in self.mapped() {
            match areas.last_mut() {
                Some(last) if (last.1, last.2, last.3) == (start, flags, behind) => last.1 = end,
                _ => areas.push((start, end, flags, behind)),
            }
        }
        let listed = self.aspace.areas().map(|area| {
            let behind = match *area.backing() {
                Backend::Linear { pa_va_offset } => Behind::Linear(pa_va_offset),
                Backend::Alloc { populate, grain } => Behind::Alloc(populate, grain),
            };
            (area.span().start, area.span().end, area.flags(), behind)
        });
        prop_assert_eq!(listed.collect::<Vec<_>>(), areas);
        Ok(())
    }

    /// Hardware finds all that is linear or has come, and nothing else.
    fn pages_are_right(&self) -> Verdict {
        let mut runs = Vec::new();
        for (range, Mapped { flags, behind }) in self.mapped() {
            let rights = self.rights(flags);
            if let Behind::Linear(offset) = behind {
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

    /// A page of the address space's own is large until a part of it has changed.
    fn sizes_are_right(&self) -> Verdict {
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
