//! Harts that enter, leave, use and change a few address spaces, in many schedules, one
//! step of one atomic at a time.
//!
//! Each address space has a page for each hart, which that hart changes: what is there
//! has a version. Whatever a hart finds in its TLB must be of the address space it is in,
//! and not older than the last change that has returned.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Arc;
use shuttle::thread;

use super::*;

const HARTS: usize = 3;
const SPACES: usize = 2;
/// How many numbers there are: none, fewer than spaces, so that generations go by, or enough.
const NUMBERS: [usize; 3] = [0, 1, 8];
const STEPS: usize = 6;
const SCHEDULES: usize = 50_000;

/// What is in an address space: a version for each page.
struct Space {
    context: Context,
    now: [AtomicUsize; HARTS],
    /// The version that no hart may find an older one of.
    settled: [AtomicUsize; HARTS],
}

/// A hart, as others see it.
#[derive(Default)]
struct Hart {
    /// By number and page: the space and the version.
    tlb: HashMap<(usize, usize), (usize, usize)>,
    /// The number it translates by, and the space.
    inside: Option<(usize, usize)>,
    /// The pages that it is asked to forget, by each.
    asked: [Option<usize>; HARTS],
}

/// How a hart is made to forget.
#[derive(Clone, Copy)]
enum Way {
    /// It takes an interrupt, when it lets them in, and forgets what it has under the
    /// number that it translates by.
    Interrupt,
    /// It forgets what it has under any number, whatever it is about.
    Firmware,
}

struct Machine {
    way: Way,
    ids: Ids,
    spaces: [Space; SPACES],
    harts: [Mutex<Hart>; HARTS],
    at_work: AtomicUsize,
}

impl Machine {
    fn new(way: Way, numbers: usize) -> Self {
        let versions = || [(); HARTS].map(|()| AtomicUsize::new(0));
        Self {
            way,
            ids: Ids::new(numbers),
            spaces: [(); SPACES].map(|()| Space {
                context: Context::user(),
                now: versions(),
                settled: versions(),
            }),
            harts: [(); HARTS].map(|()| Mutex::default()),
            at_work: AtomicUsize::new(HARTS),
        }
    }

    /// What happens to a hart happens between two of its steps.
    fn with<R>(&self, hart: usize, f: impl FnOnce(&mut Hart) -> R) -> R {
        f(&mut self.harts[hart].lock().unwrap())
    }

    /// An access, or what the hardware does of itself: then nobody sees it.
    fn access(&self, me: usize, page: usize, sees: bool) {
        self.with(me, |hart| {
            let Some((number, space)) = hart.inside else {
                return;
            };
            let there = &self.spaces[space];
            let now = (space, there.now[page].load(Relaxed));
            let (found, version) = *hart.tlb.entry((number, page)).or_insert(now);
            if sees {
                let settled = there.settled[page].load(Relaxed);
                assert_eq!(found, space, "hart {me} finds another's under {number}");
                assert!(version >= settled, "hart {me} finds {version} of {settled}");
            }
        });
    }

    fn leave(&self, me: usize) {
        if let Some((_, from)) = self.with(me, |hart| hart.inside.take()) {
            // SAFETY: the hart is simulated, and makes no access until it enters again.
            unsafe { self.spaces[from].context.leave(me) };
        }
    }

    fn enter(&self, me: usize, space: usize, generation: &mut u64) {
        self.leave(me);
        let context = &self.spaces[space].context;
        // SAFETY: the hart is simulated, and forgets what it is told to below.
        let (number, stale) = unsafe { context.enter(&self.ids, me, generation) };
        self.with(me, |hart| hart.inside = Some((number, space)));
        self.access(me, thread_rng().gen_range(0..HARTS), false);
        thread::yield_now();
        self.with(me, |hart| match stale {
            Stale::Nothing => {}
            Stale::Own => hart.tlb.retain(|(of, _), _| *of != number),
            Stale::All => hart.tlb.clear(),
        });
    }

    fn change(&self, me: usize, space: usize) {
        let there = &self.spaces[space];
        let version = there.now[me].fetch_add(1, Relaxed) + 1;
        thread::yield_now();
        there.context.change(|harts| {
            for hart in (0..HARTS).filter(|hart| harts & 1 << hart != 0) {
                thread::yield_now();
                match self.way {
                    Way::Interrupt => self.with(hart, |hart| hart.asked[me] = Some(me)),
                    Way::Firmware => {
                        self.with(hart, |hart| hart.tlb.retain(|(_, page), _| *page != me));
                    }
                }
            }
            while (0..HARTS).any(|hart| self.with(hart, |hart| hart.asked[me].is_some())) {
                self.answer(me);
                thread::yield_now();
            }
        });
        there.settled[me].store(version, Relaxed);
    }

    fn answer(&self, me: usize) {
        self.with(me, |hart| {
            for page in std::mem::take(&mut hart.asked).into_iter().flatten() {
                if let Some((number, _)) = hart.inside {
                    hart.tlb.remove(&(number, page));
                }
            }
        });
    }

    /// Two change one address space as fast as they can, and one comes, uses it and goes.
    fn run_with_two_changers(&self, me: usize) {
        let mut generation = 0;
        for _ in 0..STEPS {
            match me {
                0 => {
                    self.enter(me, 0, &mut generation);
                    self.access(me, 1, true);
                    self.access(me, 2, true);
                    self.leave(me);
                }
                _ => self.change(me, 0),
            }
            self.answer(me);
        }
        self.at_work.fetch_sub(1, Relaxed);
        while self.at_work.load(Relaxed) != 0 {
            self.answer(me);
            thread::yield_now();
        }
    }

    fn run(&self, me: usize) {
        let mut generation = 0;
        for _ in 0..STEPS {
            let space = thread_rng().gen_range(0..SPACES);
            match thread_rng().gen_range(0..8) {
                0 => self.leave(me),
                1 | 2 => self.enter(me, space, &mut generation),
                3 | 4 => self.change(me, space),
                _ => self.access(me, thread_rng().gen_range(0..HARTS), true),
            }
            self.answer(me);
            thread::yield_now();
        }
        self.at_work.fetch_sub(1, Relaxed);
        while self.at_work.load(Relaxed) != 0 {
            self.answer(me);
            thread::yield_now();
        }
        // In the end nothing is left of what was.
        for space in 0..SPACES {
            self.enter(me, space, &mut generation);
            (0..HARTS).for_each(|page| self.access(me, page, true));
        }
    }
}

/// Tries many schedules of three harts, each of which does `run`.
fn schedules_of(way: Way, numbers: usize, run: fn(&Machine, usize)) {
    let test = move || {
        let machine = Arc::new(Machine::new(way, numbers));
        let harts = [0, 1, 2].map(|me| {
            let machine = machine.clone();
            thread::spawn(move || run(&machine, me))
        });
        harts.into_iter().for_each(|hart| hart.join().unwrap());
    };
    shuttle::check_random(test, SCHEDULES);
    shuttle::check_pct(test, SCHEDULES / 4, 3);
}

#[test]
fn no_hart_finds_what_is_anothers_or_was() {
    for numbers in NUMBERS {
        schedules_of(Way::Interrupt, numbers, Machine::run);
        schedules_of(Way::Firmware, numbers, Machine::run);
    }
}

#[test]
fn two_that_change_it_leave_each_others_marks() {
    schedules_of(Way::Interrupt, 8, Machine::run_with_two_changers);
    schedules_of(Way::Firmware, 8, Machine::run_with_two_changers);
}
