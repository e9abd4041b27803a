//! A model of an address space. It knows what each page must mean, to callers and to the
//! hardware, and which frames must be in use.
//!
//! A script is a list of [operations](operation) on an address space. For each step, the
//! file that is named for the operation performs it and predicts the result. Then
//! [`compare`] checks the whole address space. The addresses are in [`atoms`].

mod atoms;
mod change;
mod clone_eager;
mod compare;
mod copy;
mod fault;
mod find_free;
mod map;
mod operation;
mod outcome;
mod own_frames;
mod rights;

use std::rc::Rc;

use axalloc::Frames as Held;
use axmm::{AddrSpace, Grain, MappingFlags};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::memory::BLOCK;
use crate::raw::{Raw, walk_into};
use crate::{RO, TestMachine, Tlb, WRITE, frames, virt};
pub use atoms::{ATOMS, PAGES, SIZE, start_of};
pub use operation::{AtomRange, Defect, Location, Op, SpaceKind, Step, Target};
use outcome::Outcome;
use own_frames::OwnFrames;

/// The result of a check. The error says what is wrong.
pub type Verdict<T = ()> = Result<T, TestCaseError>;

/// Where an atom gets its frames from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Backing {
    /// The physical addresses are this many bytes below the virtual ones.
    Linear(usize),
    /// The frames are allocated. Whether the area was populated, and its grain.
    Alloc(bool, Grain),
}

/// The state of a mapped atom.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mapped {
    flags: MappingFlags,
    backing: Backing,
}

impl Mapped {
    fn is_linear(&self) -> bool {
        matches!(self.backing, Backing::Linear(_))
    }

    /// Returns the largest number of pages that a page fault maps.
    fn pages_of_fault(self) -> usize {
        match self.backing {
            Backing::Alloc(_, Grain::Around(count)) => count.into(),
            Backing::Alloc(_, Grain::Large) => BLOCK,
            _ => 1,
        }
    }
}

/// An address space and its model.
struct Modelled<M: TestMachine> {
    aspace: AddrSpace<M>,
    kind: SpaceKind,
    base: usize,
    /// The state of each atom. `None` if it is not mapped.
    model: [Option<Mapped>; ATOMS],
    own: OwnFrames,
    /// The page table after the last step.
    raw: Rc<Raw>,
    /// The page table before that, which is kept to reuse its memory.
    spare: Rc<Raw>,
    /// The frames of pages and of tables that were in use before the address space was made.
    frames: (usize, usize),
    /// The memory that the test has taken.
    held: Vec<Held>,
}

impl<M: TestMachine> Modelled<M> {
    fn new(kind: SpaceKind) -> Self {
        let frames = frames();
        let (base, aspace) = match kind {
            SpaceKind::Kernel => (M::base(), AddrSpace::new_empty(virt(M::base()), SIZE)),
            SpaceKind::User => {
                let base = M::base() - M::HIGH;
                (base, AddrSpace::new_empty_user(virt(base), SIZE))
            }
        };
        let mut modelled = Self {
            aspace: aspace.unwrap(),
            kind,
            base,
            model: [None; ATOMS],
            own: OwnFrames::default(),
            raw: Rc::default(),
            spare: Rc::default(),
            frames,
            held: Vec::new(),
        };
        modelled.raw = Rc::new(modelled.walk().unwrap());
        modelled
    }

    /// Reads the page table as hardware does.
    fn walk(&mut self) -> Result<Raw, TestCaseError> {
        let root = self.aspace.page_table_root().as_usize();
        let above = match self.kind {
            SpaceKind::Kernel => M::ABOVE,
            SpaceKind::User => 0,
        };
        let mut raw = std::mem::take(Rc::make_mut(&mut self.spare));
        walk_into::<M::Raw>(root, above, &mut raw).map_err(TestCaseError::fail)?;
        Ok(raw)
    }

    /// Performs a step, and checks the address space.
    fn step(&mut self, Step(op, fail): Step) -> Verdict {
        Tlb::fill(&self.raw);
        let Some(outcome) = self.perform(op, fail)? else {
            return Ok(());
        };
        let raw = Rc::new(self.walk()?);
        if outcome.failed && outcome.new_pages.is_empty() {
            prop_assert_eq!(&raw, &self.raw, "a failed operation has changed the table");
        }
        for (vaddr, len) in outcome.new_pages {
            self.own.add_page(vaddr, len, &raw)?;
        }
        self.kind
            .check_flushes(&raw, outcome.failed || outcome.retried)?;
        self.spare = std::mem::replace(&mut self.raw, raw);
        self.check()
    }

    /// Performs an operation. Returns its outcome, or `None` if it changes nothing.
    fn perform(&mut self, op: Op, fail: usize) -> Verdict<Option<Outcome>> {
        let outcome = match op {
            Op::Linear(range, to, flags) => self.linear(fail, range, to, flags)?,
            Op::Alloc(range, flags, populate, grain) => {
                self.alloc(fail, range, flags, populate, grain)?
            }
            Op::Unmap(range) => self.unmap(fail, range)?,
            Op::Protect(range, flags) => self.protect(fail, range, flags)?,
            Op::Fault(location, access) => self.fault(fail, location, access)?,
            Op::Read(location, size) => self.copy(fail, location, size, RO)?,
            Op::Write(location, size) => self.copy(fail, location, size, WRITE)?,
            Op::Clear => self.clear(fail)?,
            Op::Hold(hold) => {
                self.held.clear();
                self.held = hold.take();
                Outcome::default()
            }
            Op::FindFree { hint, size, limit } => {
                return self.find_free(hint, size, limit).map(|()| None);
            }
            Op::CloneEager => return self.clone_eager(fail).map(|()| None),
            Op::CanAccess(range, offset, access) => {
                return self.can_access(range, offset, access).map(|()| None);
            }
        };
        Ok(Some(outcome))
    }
}

impl SpaceKind {
    /// Checks the flushes of an operation after which the page table is `after`. No hart has
    /// entered a user program's address space, so nothing may be flushed there.
    fn check_flushes(self, after: &Raw, failed: bool) -> Verdict {
        match self {
            Self::Kernel => Tlb::check(after, failed).map(drop),
            Self::User => Tlb::check_no_flush(),
        }
        .map_err(TestCaseError::fail)
    }
}

/// Performs a script, and compares the address space with its model after each step. Then
/// drops it, and checks that all its frames are freed.
///
/// # Errors
///
/// Fails at the first difference.
pub fn play<M: TestMachine>(kind: SpaceKind, script: &[Step]) -> Verdict {
    play_to(kind, script, |_: &AddrSpace<M>| Ok(()))
}

/// Does what [`play`] does, and calls `end` before the address space is dropped.
///
/// # Errors
///
/// Fails at the first difference, or with the error of `end`.
pub fn play_to<M: TestMachine>(
    kind: SpaceKind,
    script: &[Step],
    end: impl FnOnce(&AddrSpace<M>) -> Verdict,
) -> Verdict {
    let before = frames();
    let mut modelled = Modelled::<M>::new(kind);
    for step in script {
        modelled.step(*step)?;
    }
    end(&modelled.aspace)?;
    Tlb::fill(&modelled.raw);
    Tlb::allow_root_to_be_freed();
    drop(modelled);
    prop_assert_eq!(frames(), before);
    kind.check_flushes(&Raw::default(), false)
}
