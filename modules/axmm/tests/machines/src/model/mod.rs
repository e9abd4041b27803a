//! Address spaces against a flat model: what each page means, to whoever asks and to
//! the hardware, and which frames are in use.
//!
//! Each step is called and foretold in the room of what it does; then [`compare`] looks
//! at the whole. What is asked is in [`op`], and where things lie in [`atoms`].

mod atoms;
mod change;
mod compare;
mod copy;
mod fault;
mod gaps;
mod map;
mod op;
mod outcome;
mod own;
mod rights;

use std::rc::Rc;

use axalloc::Frames as Held;
use axmm::{AddrSpace, Grain, MappingFlags};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::memory::BLOCK;
use crate::raw::{Raw, walk_into};
use crate::{RO, TestMachine, Tlb, WRITE, frames, virt};
pub use atoms::{ATOMS, PAGES, SIZE, bounds};
pub use op::{Frames, Op, Place, Spot, Step, Twist, Whose};
use outcome::Outcome;
use own::Own;

/// What is wrong, if anything is.
pub type Verdict<T = ()> = Result<T, TestCaseError>;

/// Where the frames of an atom are from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    /// So far below the addresses.
    Linear(usize),
    /// The address space's own, whether all at once, and how many a page fault brings.
    Alloc(bool, Grain),
}

/// What an atom means that is mapped.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mapped {
    flags: MappingFlags,
    behind: Behind,
}

impl Mapped {
    fn is_linear(&self) -> bool {
        matches!(self.behind, Behind::Linear(_))
    }

    /// How many pages a page fault brings at most.
    fn brings(self) -> usize {
        match self.behind {
            Behind::Alloc(_, Grain::Around(count)) => count.into(),
            Behind::Alloc(_, Grain::Large) => BLOCK,
            _ => 1,
        }
    }
}

/// An address space, and what the model knows of it.
struct Checked<M: TestMachine> {
    aspace: AddrSpace<M>,
    whose: Whose,
    base: usize,
    model: [Option<Mapped>; ATOMS],
    own: Own,
    raw: Rc<Raw>,
    /// The one before, for its memory.
    spare: Rc<Raw>,
    /// What was in use without it.
    frames: (usize, usize),
    /// What others have.
    held: Vec<Held>,
}

impl<M: TestMachine> Checked<M> {
    fn new(whose: Whose) -> Self {
        let frames = frames();
        let (base, aspace) = match whose {
            Whose::Kernels => (M::base(), AddrSpace::new_empty(virt(M::base()), SIZE)),
            Whose::Users => {
                let base = M::base() - M::HIGH;
                (base, AddrSpace::new_empty_user(virt(base), SIZE))
            }
        };
        let mut checked = Self {
            aspace: aspace.unwrap(),
            whose,
            base,
            model: [None; ATOMS],
            own: Own::default(),
            raw: Rc::default(),
            spare: Rc::default(),
            frames,
            held: Vec::new(),
        };
        checked.raw = Rc::new(checked.walk().unwrap());
        checked
    }

    /// What hardware would find now.
    fn walk(&mut self) -> Result<Raw, TestCaseError> {
        let root = self.aspace.page_table_root().as_usize();
        let above = match self.whose {
            Whose::Kernels => M::ABOVE,
            Whose::Users => 0,
        };
        let mut raw = std::mem::take(Rc::make_mut(&mut self.spare));
        walk_into::<M::Raw>(root, above, &mut raw).map_err(TestCaseError::fail)?;
        Ok(raw)
    }

    /// Takes a step, and looks at everything.
    fn go(&mut self, Step(op, fail): Step) -> Verdict {
        Tlb::fill(&self.raw);
        let Some(outcome) = self.call(op, fail)? else {
            return Ok(());
        };
        let raw = Rc::new(self.walk()?);
        if outcome.failed && outcome.fresh.is_empty() {
            prop_assert_eq!(&raw, &self.raw, "a failed operation has changed the table");
        }
        for (vaddr, len) in outcome.fresh {
            self.own.came(vaddr, len, &raw)?;
        }
        self.whose
            .harts_are_right(&raw, outcome.failed || outcome.retried)?;
        self.spare = std::mem::replace(&mut self.raw, raw);
        self.is_right()
    }

    /// What comes of an operation; nothing, if it only asks.
    fn call(&mut self, op: Op, fail: usize) -> Verdict<Option<Outcome>> {
        let outcome = match op {
            Op::Linear(place, to, flags) => self.linear(fail, place, to, flags)?,
            Op::Alloc(place, flags, all, grain) => self.alloc(fail, place, flags, all, grain)?,
            Op::Unmap(place) => self.unmap(fail, place)?,
            Op::Protect(place, flags) => self.protect(fail, place, flags)?,
            Op::Fault(spot, access) => self.fault(fail, spot, access)?,
            Op::Read(spot, size) => self.copy(fail, spot, size, RO)?,
            Op::Write(spot, size) => self.copy(fail, spot, size, WRITE)?,
            Op::Clear => self.clear(fail)?,
            Op::Hold(hold) => {
                self.held.clear();
                self.held = hold.take();
                Outcome::default()
            }
            Op::FindFree { hint, size, limit } => {
                return self.find_free(hint, size, limit).map(|()| None);
            }
            Op::CanAccess(place, offset, access) => {
                return self.can_access(place, offset, access).map(|()| None);
            }
        };
        Ok(Some(outcome))
    }
}

impl Whose {
    /// What other harts were made to forget, now that the table is `after`: nothing, if
    /// they have not entered the address space.
    fn harts_are_right(self, after: &Raw, failed: bool) -> Verdict {
        match self {
            Self::Kernels => Tlb::check(after, failed).map(drop),
            Self::Users => Tlb::check_no_flush(),
        }
        .map_err(TestCaseError::fail)
    }
}

/// Does what `script` says, step by step beside the model, and gives everything
/// back.
pub fn play<M: TestMachine>(whose: Whose, script: &[Step]) -> Verdict {
    play_to(whose, script, |_: &AddrSpace<M>| Ok(()))
}

/// As [`play`], and looks at the address space before it goes.
pub fn play_to<M: TestMachine>(
    whose: Whose,
    script: &[Step],
    end: impl FnOnce(&AddrSpace<M>) -> Verdict,
) -> Verdict {
    let before = frames();
    let mut checked = Checked::<M>::new(whose);
    for step in script {
        checked.go(*step)?;
    }
    end(&checked.aspace)?;
    Tlb::fill(&checked.raw);
    Tlb::allow_root_to_be_freed();
    drop(checked);
    prop_assert_eq!(frames(), before);
    whose.harts_are_right(&Raw::default(), false)
}
