//! A stretch of addresses: what each of its pages should be, step by step.
//!
//! A step goes: every hart that may use the stretch looks at all of its pages, at the
//! same time as the others, and writes its own words where it may. The hart that finds
//! that all have done so changes some of it at random, and the next step begins. A
//! stretch of one hart only is the same with a set of one.
//!
//! Locks: a stretch's state, shared by those that look, alone for who changes it. Nobody
//! waits for it: who finds it taken goes on with another stretch. Inside it the address
//! space's is taken ([`Space`](crate::space::Space)).

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use axstd::memory::{AxError, AxResult, Grain, MappingFlags};
use fastrand::Rng;
use spin::RwLock;

use crate::page::{PAGE, Page, READ, RW, View};
use crate::space::{Kind, Space};
use crate::tally::Tally;

/// Bytes of a large page.
const LARGE: usize = 2 << 20;

/// How often a hart maps and unmaps in a row at times: another will do so meanwhile, and the
/// two meet at the locks.
const MANY: usize = 256;

/// A page when it is first touched.
const LAZY: Kind = Kind {
    populate: false,
    grain: Grain::Page,
};

/// A hart as it goes through the storm.
pub struct Hart {
    /// Its number.
    pub number: usize,
    /// The run's seed.
    pub seed: u64,
    /// What it does next.
    pub rng: Rng,
    /// What it has done.
    pub tally: Tally,
}

/// A stretch of addresses.
pub struct Stretch<'a> {
    space: &'a Space,
    /// Which of the address spaces it is.
    number: usize,
    base: usize,
    size: usize,
    /// The harts that may use it, a bit for each.
    harts: u64,
    /// Those that have looked at it in this step.
    seen: AtomicU64,
    state: RwLock<State>,
}

struct State {
    step: u64,
    pages: Vec<Page>,
}

/// A change of some of the pages.
#[derive(Clone, Debug)]
enum Change {
    Map(Range<usize>, MappingFlags, Kind),
    Unmap(Range<usize>),
    Protect(Range<usize>, MappingFlags),
}

impl<'a> Stretch<'a> {
    /// `pages` pages from `base` on, none of them mapped, for `harts`.
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
            seen: AtomicU64::new(0),
            state: RwLock::new(state),
        }
    }

    /// Whether there is room for a large page in it.
    pub fn is_wide(&self) -> bool {
        self.size >= LARGE
    }

    /// Goes on with it. Answers whether there was something to do for the hart, or what
    /// is wrong.
    pub fn go_on(&self, hart: &mut Hart) -> Result<bool, String> {
        let bit = 1 << hart.number;
        let seen = self.seen.load(Ordering::Acquire);
        if self.harts & bit == 0 {
            Ok(false)
        } else if seen & bit == 0 {
            self.look(hart)
        } else if seen == self.harts {
            self.change(hart)
        } else {
            Ok(false)
        }
    }

    /// Looks at every page, if nobody changes them.
    pub fn look(&self, hart: &mut Hart) -> Result<bool, String> {
        let Some(state) = self.state.try_read() else {
            return Ok(false);
        };
        let view = self.view(hart, state.step);
        hart.tally.visits += 1;
        let looked = self.space.inside(|| {
            let mut pages = state.pages.iter().zip((self.base..).step_by(PAGE));
            pages.try_for_each(|(page, addr)| {
                let copied = hart.rng.u8(..16) == 0;
                view.visit(addr, page, copied, &mut hart.tally)
            })
        });
        looked.map_err(|error| self.refused(&view, "entered", error))??;
        self.seen.fetch_or(1 << hart.number, Ordering::Release);
        Ok(true)
    }

    /// Changes some pages, if every hart has looked at them and nobody else does.
    fn change(&self, hart: &mut Hart) -> Result<bool, String> {
        let Some(mut state) = self.state.try_write() else {
            return Ok(false);
        };
        if self.seen.load(Ordering::Acquire) != self.harts {
            return Ok(false);
        }
        let State { step, pages } = &mut *state;
        let written = pages.iter_mut().filter(|page| page.is_writable());
        written.for_each(|page| page.written = *step);
        let view = self.view(hart, *step);
        for _ in 0..hart.rng.usize(1..=3) {
            match Change::any(&mut hart.rng, pages) {
                Change::Map(range, flags, _) if hart.rng.u8(..4) == 0 => {
                    for _ in 0..MANY {
                        let map = Change::Map(range.clone(), flags, LAZY);
                        self.apply(map, pages, hart, &view)?;
                        self.apply(Change::Unmap(range.clone()), pages, hart, &view)?;
                    }
                }
                change => self.apply(change, pages, hart, &view)?,
            }
        }
        *step += 1;
        self.seen.store(0, Ordering::Release);
        Ok(true)
    }

    /// Carries out a change, sees what the address space answers, and notes it.
    fn apply(
        &self,
        change: Change,
        pages: &mut [Page],
        hart: &mut Hart,
        view: &View,
    ) -> Result<(), String> {
        let done = match hart.rng.bool() {
            true => self.space.inside(|| self.carry_out(&change)).flatten(),
            false => self.carry_out(&change),
        };
        let wanted = change.outcome(pages);
        // Memory may run out at any time; nothing has changed then.
        if done != wanted && done != Err(AxError::NoMemory) {
            let (found, wanted) = (format!("{done:?} for {change:?}"), format!("{wanted:?}"));
            return Err(view.wrong(self.base, &found, &wanted));
        }
        match done {
            Ok(()) => change.note(pages, &mut hart.tally),
            Err(_) => hart.tally.refused += 1,
        }
        Ok(())
    }

    /// Unmaps all of it, at the end, when no hart is in it any more.
    pub fn clear(&self, hart: &Hart) -> Result<(), String> {
        let mut state = self.state.write();
        let done = self.space.unmap(self.base, self.size);
        state.step += 1;
        let view = self.view(hart, state.step);
        done.map_err(|error| self.refused(&view, "unmapped", error))?;
        state.pages.fill(Page::default());
        match self.space.is_empty(self.base, self.size) {
            true => Ok(()),
            false => Err(view.wrong(self.base, "an area", "nothing mapped")),
        }
    }

    fn view(&self, hart: &Hart, step: u64) -> View<'a> {
        View {
            space: self.space,
            number: self.number,
            writers: self.harts,
            hart: hart.number,
            seed: hart.seed,
            step,
        }
    }

    fn refused(&self, view: &View, what: &str, error: AxError) -> String {
        view.wrong(self.base, &format!("{error:?}"), what)
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
    /// One that is likely to be possible.
    fn any(rng: &mut Rng, pages: &[Page]) -> Self {
        let first = rng.usize(..pages.len());
        let is_hole = |page: &Page| page.flags.is_none();
        let hole = is_hole(&pages[first]);
        // Mostly within what is alike, so that it is not refused.
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
            return Self::Map(range, any_rights(rng), any_kind(rng));
        }
        match rng.u8(..8) {
            0 => Self::Unmap(0..pages.len()),
            1..4 => Self::Unmap(range),
            _ => Self::Protect(range, any_rights(rng)),
        }
    }

    /// What the address space must answer.
    fn outcome(&self, pages: &[Page]) -> AxResult {
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

    /// Notes that it has been carried out.
    fn note(self, pages: &mut [Page], tally: &mut Tally) {
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

/// Mostly read and write.
fn any_rights(rng: &mut Rng) -> MappingFlags {
    match rng.u8(..8) {
        0 => MappingFlags::empty(),
        1..4 => READ,
        _ => RW,
    }
}

fn any_kind(rng: &mut Rng) -> Kind {
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
