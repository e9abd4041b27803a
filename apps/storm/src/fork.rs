//! Forks: a hart forks a user address space while other harts use it, and writes to one region on
//! both sides.
//!
//! The hart holds the region's lock, so that its pages do not change meanwhile. Other harts change,
//! write and check other regions of the parent, whose pages and page tables the child shares.

use alloc::string::String;
use alloc::vec::Vec;

use axstd::memory::AxError;

use crate::page::{Checker, Page};
use crate::region::{Change, Hart, Region};

/// The greatest number of changes that a hart makes in a child.
const CHANGES: usize = 3;

impl Region<'_> {
    /// Forks the address space, writes to the region in the child and in the parent, and changes
    /// pages in the child. Checks each time that the other side has its own words. All harts have
    /// written their words in `step`, which `pages` say.
    ///
    /// Does nothing in the kernel's address space, and while another hart has a child.
    ///
    /// # Errors
    ///
    /// The error is a description of a page or a result that is not as expected.
    pub fn fork(&self, step: u64, pages: &[Page], hart: &mut Hart) -> Result<(), String> {
        let parent = self.checker(hart, step);
        let Some(child) = self.space().fork() else {
            return Ok(());
        };
        let child = match child {
            Ok(child) => child,
            Err(AxError::NoMemory) => {
                hart.tally.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(self.refused(&parent, "forked", error)),
        };
        hart.tally.forks += 1;
        // Each side gets words of its own.
        let (in_child, in_parent) = (step + 1, step + 2);
        let twin = self.twin(&child);
        twin.visit_pages(&twin.checker(hart, in_child), pages, hart)?;
        self.visit_pages(&self.checker(hart, in_parent), pages, hart)?;
        twin.check_and_change(in_child, pages, hart)?;
        drop(child);
        // The parent gets back the words of the step.
        let written = Checker {
            own_written: Some(in_parent),
            ..parent
        };
        self.visit_pages(&written, pages, hart)
    }

    /// Checks the words in a child, and changes pages. The hart has written its words in `step`.
    fn check_and_change(&self, step: u64, pages: &[Page], hart: &mut Hart) -> Result<(), String> {
        let checker = Checker {
            own_written: Some(step),
            ..self.checker(hart, step)
        };
        self.visit_pages(&checker, pages, hart)?;
        let mut pages: Vec<Page> = pages.to_vec();
        for _ in 0..hart.rng.usize(..=CHANGES) {
            let change = Change::random(&mut hart.rng, &pages);
            self.apply(change, &mut pages, hart, &checker)?;
        }
        Ok(())
    }
}
