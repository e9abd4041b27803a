//! Harts that enter, leave, use and change a few address spaces, in many schedules, one
//! step of one atomic at a time.
//!
//! Each address space has a page for each hart, which only that hart changes. Each change
//! gives the page a new version. A translation that a hart finds in its TLB must be of the
//! address space that it is in, and not older than the last change that has returned.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Arc;
use shuttle::thread;

use super::*;

const HARTS: usize = 3;
const SPACES: usize = 2;
/// The largest ASIDs: none, fewer than address spaces, so that generations end, or enough.
const MAX_ASIDS: [usize; 3] = [0, 1, 8];
const STEPS: usize = 6;
const SCHEDULES: usize = 50_000;

/// An address space.
struct Space {
    state: TlbState,
    /// The present version of each page.
    now: [AtomicUsize; HARTS],
    /// The version of each page whose flush has returned: no hart may use an older one.
    flushed: [AtomicUsize; HARTS],
}

/// A hart, as other harts see it.
#[derive(Default)]
struct Hart {
    /// By ASID and page: the address space and the version.
    tlb: HashMap<(usize, usize), (usize, usize)>,
    /// The ASID that it uses, and the address space.
    inside: Option<(usize, usize)>,
    /// The page that each other hart has requested it to flush.
    requests: [Option<usize>; HARTS],
}

/// How a hart is made to flush.
#[derive(Clone, Copy)]
enum FlushMethod {
    /// It takes an interrupt, when they are enabled, and flushes the page under the ASID that
    /// it uses.
    Interrupt,
    /// The firmware flushes the page under all ASIDs at once.
    Firmware,
}

struct Machine {
    method: FlushMethod,
    asids: AsidAllocator,
    spaces: [Space; SPACES],
    harts: [Mutex<Hart>; HARTS],
    /// The number of harts that have not finished their steps.
    running: AtomicUsize,
}

impl Machine {
    fn new(method: FlushMethod, max_asid: usize) -> Self {
        let versions = || [(); HARTS].map(|()| AtomicUsize::new(0));
        Self {
            method,
            asids: AsidAllocator::new(max_asid),
            spaces: [(); SPACES].map(|()| Space {
                state: TlbState::user(),
                now: versions(),
                flushed: versions(),
            }),
            harts: [(); HARTS].map(|()| Mutex::default()),
            running: AtomicUsize::new(HARTS),
        }
    }

    /// Does something with a hart, as one step.
    fn with<R>(&self, hart: usize, f: impl FnOnce(&mut Hart) -> R) -> R {
        f(&mut self.harts[hart].lock().unwrap())
    }

    /// Looks a page up, as an access of the program, or as the hardware does speculatively.
    /// What the hardware finds is not `checked`.
    fn access(&self, me: usize, page: usize, checked: bool) {
        self.with(me, |hart| {
            let Some((asid, space)) = hart.inside else {
                return;
            };
            let there = &self.spaces[space];
            let now = (space, there.now[page].load(Relaxed));
            let (found, version) = *hart.tlb.entry((asid, page)).or_insert(now);
            if checked {
                let flushed = there.flushed[page].load(Relaxed);
                assert_eq!(
                    found, space,
                    "hart {me} uses a foreign entry of ASID {asid}"
                );
                assert!(
                    version >= flushed,
                    "hart {me} uses version {version} after {flushed} was flushed"
                );
            }
        });
    }

    fn leave(&self, me: usize) {
        if let Some((_, from)) = self.with(me, |hart| hart.inside.take()) {
            // SAFETY: the hart is simulated, and makes no access until it enters again.
            unsafe { self.spaces[from].state.leave(me) };
        }
    }

    fn enter(&self, me: usize, space: usize, generation: &mut u64) {
        self.leave(me);
        let state = &self.spaces[space].state;
        // SAFETY: the hart is simulated, and flushes what is returned below.
        let (asid, flush) = unsafe { state.enter(&self.asids, me, generation) };
        self.with(me, |hart| hart.inside = Some((asid, space)));
        self.access(me, thread_rng().gen_range(0..HARTS), false);
        thread::yield_now();
        self.with(me, |hart| match flush {
            FlushOnEntry::Nothing => {}
            FlushOnEntry::Asid => hart.tlb.retain(|(of, _), _| *of != asid),
            FlushOnEntry::Everything => hart.tlb.clear(),
        });
    }

    fn change(&self, me: usize, space: usize) {
        let there = &self.spaces[space];
        let version = there.now[me].fetch_add(1, Relaxed) + 1;
        thread::yield_now();
        there.state.shoot_down(|harts| {
            for hart in (0..HARTS).filter(|hart| harts & 1 << hart != 0) {
                thread::yield_now();
                match self.method {
                    FlushMethod::Interrupt => {
                        self.with(hart, |hart| hart.requests[me] = Some(me));
                    }
                    FlushMethod::Firmware => {
                        self.with(hart, |hart| hart.tlb.retain(|(_, page), _| *page != me));
                    }
                }
            }
            while (0..HARTS).any(|hart| self.with(hart, |hart| hart.requests[me].is_some())) {
                self.handle_requests(me);
                thread::yield_now();
            }
        });
        there.flushed[me].store(version, Relaxed);
    }

    fn handle_requests(&self, me: usize) {
        self.with(me, |hart| {
            for page in std::mem::take(&mut hart.requests).into_iter().flatten() {
                if let Some((asid, _)) = hart.inside {
                    hart.tlb.remove(&(asid, page));
                }
            }
        });
    }

    /// Harts 1 and 2 change one address space as fast as they can, and hart 0 enters, uses
    /// and leaves it.
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
            self.handle_requests(me);
        }
        self.finish(me);
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
            self.handle_requests(me);
            thread::yield_now();
        }
        self.finish(me);
        // After all changes, every page is looked up once more.
        for space in 0..SPACES {
            self.enter(me, space, &mut generation);
            (0..HARTS).for_each(|page| self.access(me, page, true));
        }
    }

    /// Handles the requests of other harts until all have finished their steps.
    fn finish(&self, me: usize) {
        self.running.fetch_sub(1, Relaxed);
        while self.running.load(Relaxed) != 0 {
            self.handle_requests(me);
            thread::yield_now();
        }
    }
}

/// Tries many schedules of three harts, each of which does `run`.
fn schedules_of(method: FlushMethod, max_asid: usize, run: fn(&Machine, usize)) {
    let test = move || {
        let machine = Arc::new(Machine::new(method, max_asid));
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
fn no_hart_uses_a_stale_or_foreign_translation() {
    for max_asid in MAX_ASIDS {
        schedules_of(FlushMethod::Interrupt, max_asid, Machine::run);
        schedules_of(FlushMethod::Firmware, max_asid, Machine::run);
    }
}

#[test]
fn two_changing_harts_keep_each_others_stale_bits() {
    schedules_of(FlushMethod::Interrupt, 8, Machine::run_with_two_changers);
    schedules_of(FlushMethod::Firmware, 8, Machine::run_with_two_changers);
}
