//! Copies of the whole address space.

use axalloc::usage;
use axerrno::AxError;
use axmm::{AddrSpace, Backend, MappingFlags};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::outcome::failing;
use super::{Modelled, SpaceKind, Verdict};
use crate::raw::{Raw, RawPage, Rights, walk_into};
use crate::{KIB4, TestMachine, frames, words};

impl<M: TestMachine> Modelled<M> {
    /// Copies the address space, compares the copy with the original, and drops it.
    pub(super) fn clone_eager(&mut self, fail: usize) -> Verdict {
        let before = frames();
        let free = usage().free;
        let (result, failed) = failing(fail, || self.aspace.clone_eager());
        match result {
            Ok(copy) => {
                prop_assert_eq!(self.kind, SpaceKind::User);
                prop_assert_eq!(areas(&copy), areas(&self.aspace));
                self.check_copied_pages(&copy)?;
            }
            Err(AxError::InvalidInput) => prop_assert_eq!(self.kind, SpaceKind::Kernel),
            Err(error) => {
                prop_assert_eq!(error, AxError::NoMemory);
                // The frames of the copy's pages and tables. A large page for which there is no
                // block needs one more table.
                let tables = self.raw.tables.len() + self.own.large().count();
                let needed = self.own.count() + tables;
                prop_assert!(failed || needed > free, "{needed} of {free} free frames");
            }
        }
        prop_assert_eq!(frames(), before);
        prop_assert_eq!(&self.walk()?, &*self.raw, "the original has changed");
        Ok(())
    }

    fn check_copied_pages(&self, copy: &AddrSpace<M>) -> Verdict {
        let mut raw = Raw::default();
        let root = copy.page_table_root().as_usize();
        walk_into::<M::Raw>(root, 0, &mut raw).map_err(TestCaseError::fail)?;
        prop_assert_eq!(merged(&raw), merged(&self.raw));
        for page in &raw.pages {
            let original = self.aspace.query(page.vaddr.into());
            let original =
                original.map(|found| found.paddr.as_usize() + page.vaddr - found.vaddr.as_usize());
            let mapped = self.atom_at(page.vaddr).and_then(|atom| self.model[atom]);
            let is_linear = mapped.is_some_and(|mapped| mapped.is_linear());
            prop_assert_eq!(original == Some(page.paddr), is_linear, "{:?}", page);
            for offset in (0..page.size).step_by(KIB4) {
                if let Some(original) = original.filter(|_| !is_linear) {
                    let (one, other) = (words(original + offset), words(page.paddr + offset));
                    prop_assert_eq!(one, other, "{:#x}", page.vaddr + offset);
                }
            }
        }
        Ok(())
    }
}

/// Start, end, rights and backing of each area.
fn areas<M: TestMachine>(space: &AddrSpace<M>) -> Vec<(usize, usize, MappingFlags, Backend)> {
    let areas = space.areas().map(|area| {
        let (start, end) = (area.start().as_usize(), area.end().as_usize());
        (start, end, area.flags(), *area.backend())
    });
    areas.collect()
}

/// Start, end and rights of contiguous pages, whatever their sizes.
fn merged(raw: &Raw) -> Vec<(usize, usize, Rights)> {
    let mut runs: Vec<(usize, usize, Rights)> = Vec::new();
    for RawPage {
        vaddr,
        size,
        rights,
        ..
    } in &raw.pages
    {
        match runs.last_mut() {
            Some(last) if last.1 == *vaddr && last.2 == *rights => last.1 += size,
            _ => runs.push((*vaddr, vaddr + size, *rights)),
        }
    }
    runs
}
