//! The state that all simulated harts share, and the flushes that they ask each other for.
//!
//! Only one thread of shuttle runs at a time, so cells are enough.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::code::CodePage;
use super::hart::{Hart, Request, word_at};
use super::overtakes::Overtakes;
use super::rules::{Rules, Shootdown};
use super::spaces::SPACES;
use super::stacks::Stack;
use super::{Bug, HARTS, Workload};
use crate::{ALL_ADDRESSES, KIB4};

/// What instruction fetches find where code has never been cleaned.
const NEVER_CLEANED: u64 = u64::MAX;

/// The state that all simulated harts share.
pub struct World {
    pub workload: Workload,
    pub rules: Rules,
    pub bug: Bug,
    pub harts: [RefCell<Hart>; HARTS],
    /// The addresses of each address space that operations are changing.
    pub changing: [RefCell<Vec<Range<usize>>>; SPACES],
    /// The physical address of each address space's root table. It never changes.
    pub roots: Cell<[usize; SPACES]>,
    pub overtakes: Overtakes,
    /// The stack of each hart.
    pub stacks: [Cell<Stack>; HARTS],
    pub code: Cell<CodePage>,
    /// The instruction words that have been cleaned, by physical address.
    pub cleaned: RefCell<HashMap<usize, u64>>,
    /// The number of harts that still have steps to take.
    pub running: Cell<usize>,
    /// The first error that a hart has found.
    pub failure: RefCell<Option<String>>,
}

std::thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

shuttle::thread_local! {
    static THIS_HART: Cell<usize> = Cell::new(0);
}

/// Returns the state of the simulation that runs.
pub fn world() -> Rc<World> {
    WORLD.with_borrow(|world| Rc::clone(world.as_ref().expect("a simulation runs")))
}

/// Sets the state of the simulation that is about to run.
pub fn set(world: World) {
    WORLD.set(Some(Rc::new(world)));
}

/// Takes the state of the simulation that has ended.
pub fn take() -> Rc<World> {
    WORLD.take().expect("a simulation has run")
}

/// Returns the number of the hart that runs this.
pub fn this_hart() -> usize {
    THIS_HART.with(Cell::get)
}

/// Makes this thread the hart with the number `hart`.
pub fn set_this_hart(hart: usize) {
    THIS_HART.with(|this| this.set(hart));
}

/// Lets other harts run.
pub fn pause() {
    thread::yield_now();
}

impl World {
    /// Returns the state before the first step.
    pub fn new(workload: Workload, rules: Rules, bug: Bug) -> Self {
        Self {
            workload,
            rules,
            bug,
            harts: [(); HARTS].map(|()| RefCell::new(Hart::new(HARTS))),
            changing: [(); SPACES].map(|()| RefCell::default()),
            roots: Cell::new([0; SPACES]),
            overtakes: Overtakes::default(),
            stacks: [(); HARTS].map(|()| Cell::new(Stack::None)),
            code: Cell::default(),
            cleaned: RefCell::default(),
            running: Cell::new(HARTS),
            failure: RefCell::new(None),
        }
    }

    /// Returns whether the run is over: all harts have taken their steps, or one has failed.
    pub fn is_over(&self) -> bool {
        self.running.get() == 0 || self.failure.borrow().is_some()
    }

    /// Ends the run with an error. The first error is kept.
    pub fn fail(&self, what: String) {
        self.failure.borrow_mut().get_or_insert(what);
    }

    /// Ends the run if `result` is an error.
    pub fn check(&self, result: Result<(), String>) {
        if let Err(what) = result {
            self.fail(what);
        }
    }

    /// Returns whether an operation is changing the page table at `vaddr`.
    pub fn is_changing(&self, space: usize, vaddr: usize) -> bool {
        let changing = self.changing[space].borrow();
        changing.iter().any(|range| range.contains(&vaddr))
    }

    /// Carries out a request on `hart`, as far as the machine's bug allows.
    pub fn carry_out(&self, hart: usize, request: &Request) {
        let mut hart = self.harts[hart].borrow_mut();
        match request {
            Request::FetchAnew => hart.drop_instructions(),
            Request::Flush(pages)
                if self.bug == Bug::FlushesFirstPageOnly && *pages != ALL_ADDRESSES =>
            {
                hart.flush(&self.rules, &(pages.start..pages.start + KIB4));
            }
            Request::Flush(_) if self.bug == Bug::KeepsWalkCache => hart.flush_pages(),
            Request::Flush(pages) => hart.flush(&self.rules, pages),
        }
    }

    /// Sends a request to `harts`, one bit for each, and waits until all acknowledge it.
    pub fn send(&self, harts: u64, request: &Request) {
        let this = this_hart();
        let by_interrupt = self.rules.shootdown == Shootdown::Interrupt;
        for hart in 0..HARTS {
            pause();
            let selected = harts & 1 << hart != 0 || self.rules.shootdown == Shootdown::Broadcast;
            let skipped = match self.bug {
                Bug::NeverFlushes => true,
                Bug::FlushesLocallyOnly => hart != this,
                Bug::SkipsLastHart => hart == HARTS - 1,
                _ => false,
            };
            if !selected || skipped {
                continue;
            }
            match by_interrupt && hart != this {
                true => self.harts[hart].borrow_mut().mailbox[this] = Some(request.clone()),
                false => self.carry_out(hart, request),
            }
        }
        let is_pending = |hart: &RefCell<Hart>| hart.borrow().mailbox[this].is_some();
        while self.harts.iter().any(is_pending) && !self.is_over() && self.bug != Bug::DoesNotWait {
            self.acknowledge();
            pause();
        }
    }

    /// Carries out the requests in this hart's mailbox.
    pub fn acknowledge(&self) {
        for sender in 0..HARTS {
            let request = self.harts[this_hart()].borrow_mut().mailbox[sender].take();
            if let Some(request) = request {
                self.carry_out(this_hart(), &request);
            }
        }
    }

    /// Returns what an instruction fetch at a physical address finds. Where code must be
    /// cleaned, that is mostly the word that was cleaned last. Sometimes it is the word in
    /// memory, as if the data cache had written the line back by itself.
    pub fn fetch(&self, paddr: usize) -> u64 {
        let written = word_at(paddr).load(Relaxed);
        match self.rules.needs_cleaning && thread_rng().gen_range(0..4) != 0 {
            true => *self
                .cleaned
                .borrow_mut()
                .entry(paddr)
                .or_insert(NEVER_CLEANED),
            false => written,
        }
    }
}
