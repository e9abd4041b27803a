//! A region of addresses, and what each of its pages should be, step by step.
//!
//! A region belongs to one hart or to several. In each step all its harts visit all its pages, at
//! the same time: they check every word, and write their own words where they may. The hart that
//! finds that all have done so makes random changes, and the next step begins.
//!
//! A region's state is under a reader-writer lock: visiting harts share it, and the changing hart
//! holds it exclusively. Harts only try to lock it. A hart that fails goes on with another region.
//! The locks of the address space ([`Space`](crate::space::Space)) are taken inside it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use axstd::memory::{AxError, AxResult, Grain, MappingFlags};
use fastrand::Rng;
use spin::RwLock;

use crate::page::{Checker, PAGE, Page, READ, RW};
use crate::space::{Kind, Space};
use crate::tally::Tally;

/// The size of a large page in bytes.
const LARGE: usize = 2 << 20;

/// The number of times that a hart maps and unmaps a range in one burst. Bursts of several harts
/// overlap, so that the harts contend for locks.
const BURST: usize = 256;

/// A mapping whose pages get their frames one by one, at the first touch.
const LAZY: Kind = Kind {
    populate: false,
    grain: Grain::Page,
};

/// A hart's part in the storm.
pub struct Hart {
    /// The number of the hart.
    pub number: usize,
    /// The run's seed.
    pub seed: u64,
    /// The source of the hart's random choices.
    pub rng: Rng,
    /// The counts of what the hart has done.
    pub tally: Tally,
}

/// A region of addresses in one address space.
pub struct Region<'a> {
    space: &'a Space,
    /// The number of the address space.
    number: usize,
    base: usize,
    /// The size in bytes.
    size: usize,
    /// The harts that use the region, one bit each.
    harts: u64,
    /// The harts that have visited all pages in this step, one bit each. Each hart sets its bit
    /// with release order after its visit, and the changing hart loads all with acquire order.
    visited: AtomicU64,
    state: RwLock<State>,
}

/// What the pages should be.
struct State {
    /// The number of the step, from 1.
    step: u64,
    pages: Vec<Page>,
}

/// An operation on some of a region's pages, given by their indices.
#[derive(Clone, Debug)]
pub enum Change {
    Map(Range<usize>, MappingFlags, Kind),
    Unmap(Range<usize>),
    Protect(Range<usize>, MappingFlags),
}

impl<'a> Region<'a> {
    /// Returns a region of `pages` pages from address `base` on, all unmapped. `harts` has a bit
    /// for each hart that uses it.
    pub fn new(space: &'a Space, number: usize, base: usize, pages: usize, harts: u64) -> Self {
        let state = State {
            step: 1,
            pages: vec![Page::default(); pages],
        };
        Self {
            space,
            number,
            base,
            size: pages * PAGE,
            harts,
            visited: AtomicU64::new(0),
            state: RwLock::new(state),
        }
    }

    /// Returns whether a large page fits into the region.
    pub fn is_wide(&self) -> bool {
        self.size >= LARGE
    }

    /// Does the hart's next part of the current step: a visit, or the change. Returns whether the
    /// hart had anything to do.
    ///
    /// # Errors
    ///
    /// The error is a description of a page or a result that is not as expected.
    pub fn advance(&self, hart: &mut Hart) -> Result<bool, String> {
        let bit = 1 << hart.number;
        let visited = self.visited.load(Ordering::Acquire);
        if self.harts & bit == 0 {
            Ok(false)
        } else if visited & bit == 0 {
            self.visit(hart)
        } else if visited == self.harts {
            self.change(hart)
        } else {
            Ok(false)
        }
    }

    /// Checks every page, unless another hart changes the region. Returns whether it did.
    ///
    /// # Errors
    ///
    /// The error is a description of a page that is not as expected.
    pub fn visit(&self, hart: &mut Hart) -> Result<bool, String> {
        let Some(state) = self.state.try_read() else {
            return Ok(false);
        };
        let checker = self.checker(hart, state.step);
        hart.tally.visits += 1;
        self.visit_pages(&checker, &state.pages, hart)?;
        self.visited.fetch_or(1 << hart.number, Ordering::Release);
        Ok(true)
    }

    /// Visits all `pages`, which are those of this region. The caller has locked the region.
    ///
    /// # Errors
    ///
    /// The error is a description of a page that is not as expected.
    pub fn visit_pages(
        &self,
        checker: &Checker,
        pages: &[Page],
        hart: &mut Hart,
    ) -> Result<(), String> {
        let visited = self.space.inside(|| {
            let mut pages = pages.iter().zip((self.base..).step_by(PAGE));
            pages.try_for_each(|(page, addr)| {
                let by_copy = hart.rng.u8(..16) == 0;
                checker.visit(addr, page, by_copy, &mut hart.tally)
            })
        });
        visited.map_err(|error| self.refused(checker, "entered", error))?
    }

    /// Makes random changes and begins the next step, unless another hart has the region's lock.
    /// Returns whether it did.
    fn change(&self, hart: &mut Hart) -> Result<bool, String> {
        let Some(mut state) = self.state.try_write() else {
            return Ok(false);
        };
        // Another hart may have changed the region since `advance` looked.
        if self.visited.load(Ordering::Acquire) != self.harts {
            return Ok(false);
        }
        let State { step, pages } = &mut *state;
        let written = pages.iter_mut().filter(|page| page.is_writable());
        written.for_each(|page| page.written = *step);
        if hart.rng.u8(..8) == 0 {
            self.fork(*step, pages, hart)?;
        }
        let checker = self.checker(hart, *step);
        for _ in 0..hart.rng.usize(1..=3) {
            match Change::random(&mut hart.rng, pages) {
                Change::Map(range, flags, _) if hart.rng.u8(..4) == 0 => {
                    for _ in 0..BURST {
                        let map = Change::Map(range.clone(), flags, LAZY);
                        self.apply(map, pages, hart, &checker)?;
                        self.apply(Change::Unmap(range.clone()), pages, hart, &checker)?;
                    }
                }
                change => self.apply(change, pages, hart, &checker)?,
            }
        }
        *step += 1;
        self.visited.store(0, Ordering::Release);
        Ok(true)
    }

    /// Carries out a change, from inside the address space or from outside, checks the result, and
    /// updates `pages`.
    ///
    /// # Errors
    ///
    /// The error is a description of a result that is not as expected.
    pub fn apply(
        &self,
        change: Change,
        pages: &mut [Page],
        hart: &mut Hart,
        checker: &Checker,
    ) -> Result<(), String> {
        let done = match hart.rng.bool() {
            true => self.space.inside(|| self.carry_out(&change)).flatten(),
            false => self.carry_out(&change),
        };
        let wanted = change.expected_result(pages);
        // Memory may run out at any time, and then the operation must have changed nothing.
        if done != wanted && done != Err(AxError::NoMemory) {
            let (found, wanted) = (format!("{done:?} for {change:?}"), format!("{wanted:?}"));
            return Err(checker.error(self.base, &found, &wanted));
        }
        match done {
            Ok(()) => change.record(pages, &mut hart.tally),
            Err(_) => hart.tally.refused += 1,
        }
        Ok(())
    }

    /// Unmaps the whole region after the storm, when no hart uses it.
    ///
    /// # Errors
    ///
    /// Fails when the unmap is refused, or leaves an area.
    pub fn clear(&self, hart: &Hart) -> Result<(), String> {
        let mut state = self.state.write();
        let done = self.space.unmap(self.base, self.size);
        state.step += 1;
        let checker = self.checker(hart, state.step);
        done.map_err(|error| self.refused(&checker, "unmapped", error))?;
        state.pages.fill(Page::default());
        match self.space.is_empty(self.base, self.size) {
            true => Ok(()),
            false => Err(checker.error(self.base, "an area", "no area")),
        }
    }

    /// Returns the region with the same addresses in another address space, which has the words of
    /// this one. Its state is empty: the caller passes the pages to each method.
    pub fn twin<'b>(&self, space: &'b Space) -> Region<'b> {
        let state = State {
            step: 1,
            pages: Vec::new(),
        };
        Region {
            space,
            number: self.number,
            base: self.base,
            size: self.size,
            harts: self.harts,
            visited: AtomicU64::new(0),
            state: RwLock::new(state),
        }
    }

    /// Returns the address space.
    pub fn space(&self) -> &'a Space {
        self.space
    }

    /// Returns a checker of the region's pages in this step.
    pub fn checker(&self, hart: &Hart, step: u64) -> Checker<'a> {
        Checker {
            own_written: None,
            space: self.space,
            number: self.number,
            writers: self.harts,
            hart: hart.number,
            seed: hart.seed,
            step,
        }
    }

    /// Returns a description of an operation on the whole region that was refused.
    pub fn refused(&self, checker: &Checker, expected: &str, error: AxError) -> String {
        checker.error(self.base, &format!("{error:?}"), expected)
    }

    fn carry_out(&self, change: &Change) -> AxResult {
        let start = |pages: &Range<usize>| self.base + pages.start * PAGE;
        let size = |pages: &Range<usize>| pages.len() * PAGE;
        match change {
            Change::Map(pages, flags, kind) => {
                self.space.map(start(pages), size(pages), *flags, *kind)
            }
            Change::Unmap(pages) => self.space.unmap(start(pages), size(pages)),
            Change::Protect(pages, flags) => self.space.protect(start(pages), size(pages), *flags),
        }
    }
}

impl Change {
    /// Returns a random change, which is likely to succeed.
    pub fn random(rng: &mut Rng, pages: &[Page]) -> Self {
        let first = rng.usize(..pages.len());
        let is_hole = |page: &Page| page.flags.is_none();
        let hole = is_hole(&pages[first]);
        // Most ranges are either mapped or unmapped as a whole, so that the change succeeds.
        let most = match rng.u8(..16) {
            0 => pages.len() - first,
            _ => pages[first..]
                .iter()
                .take_while(|page| is_hole(page) == hole)
                .count(),
        };
        let count = match rng.u8(..4) {
            0 => 1,
            1 => most,
            _ => rng.usize(1..=most),
        };
        let range = first..first + count;
        if hole {
            return Self::Map(range, random_rights(rng), random_kind(rng));
        }
        match rng.u8(..8) {
            0 => Self::Unmap(0..pages.len()),
            1..4 => Self::Unmap(range),
            _ => Self::Protect(range, random_rights(rng)),
        }
    }

    /// Returns the result that the address space must return.
    fn expected_result(&self, pages: &[Page]) -> AxResult {
        let any = |range: &Range<usize>, mapped: bool| {
            let mut range = pages[range.clone()].iter();
            range.any(|page| page.flags.is_some() == mapped)
        };
        match self {
            Self::Map(range, ..) if any(range, true) => Err(AxError::AlreadyExists),
            Self::Protect(range, _) if any(range, false) => Err(AxError::NotFound),
            _ => Ok(()),
        }
    }

    /// Updates `pages` and `tally` after the change has succeeded.
    fn record(self, pages: &mut [Page], tally: &mut Tally) {
        match self {
            Self::Map(range, flags, _) => {
                tally.maps += 1;
                pages[range].fill(Page {
                    flags: Some(flags),
                    written: 0,
                });
            }
            Self::Unmap(range) => {
                tally.unmaps += 1;
                pages[range].fill(Page::default());
            }
            Self::Protect(range, flags) => {
                tally.protects += 1;
                pages[range]
                    .iter_mut()
                    .for_each(|page| page.flags = Some(flags));
            }
        }
    }
}

/// Returns random rights: read and write in half of all cases, no rights in
/// one of eight.
fn random_rights(rng: &mut Rng) -> MappingFlags {
    match rng.u8(..8) {
        0 => MappingFlags::empty(),
        1..4 => READ,
        _ => RW,
    }
}

fn random_kind(rng: &mut Rng) -> Kind {
    let grain = match rng.u8(..4) {
        0 => Grain::Page,
        1 => Grain::Around(1 << rng.u8(1..=9)),
        _ => Grain::Large,
    };
    Kind {
        populate: rng.bool(),
        grain,
    }
}
