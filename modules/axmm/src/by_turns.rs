//! A machine of four harts, all of which one thread plays, by turns.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use axalloc::fault::paused;

use crate::machine::{Machine, ThisMachine};

/// The number of harts.
pub const HARTS: usize = 4;

/// The machine of the four harts.
pub struct FourHarts;

std::thread_local! {
    /// The hart that the thread plays now.
    static HART: Cell<usize> = const { Cell::new(0) };
    /// What another hart does when this hart next waits.
    pub static ON_WAIT: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// The round of waiting that this hart has reached.
    pub static ROUND: Cell<usize> = const { Cell::new(0) };
    /// How often other modules still free memory when they are asked to.
    pub static RECLAIMS: Cell<usize> = const { Cell::new(0) };
    /// How often a hart has looked for flush requests.
    pub static POLLS: Cell<usize> = const { Cell::new(0) };
    /// All flushes so far: the harts, a bit for each, and the addresses.
    pub static FLUSHES: RefCell<Vec<(u64, Range<usize>)>> = const { RefCell::new(Vec::new()) };
}

/// Does `work` as another hart.
pub fn as_hart<R>(hart: usize, work: impl FnOnce() -> R) -> R {
    let this = HART.replace(hart);
    let result = work();
    HART.set(this);
    result
}

/// Lets another hart do `work` in round `round` of this hart's next wait.
pub fn at_round(round: usize, work: impl FnOnce() + 'static) {
    ON_WAIT.set(Some(match round {
        0 => Box::new(work),
        _ => Box::new(move || at_round(round - 1, work)),
    }));
}

// SAFETY: each test runs on one thread, and changes the number of the hart only between
// operations, or where the hart waits. The machine is shared with no other thread.
unsafe impl Machine for FourHarts {
    crate::page_tables_of!(ThisMachine);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {}

    fn flush(harts: u64, pages: Range<usize>) {
        // The record takes memory also while a test makes allocations fail.
        paused(|| FLUSHES.with_borrow_mut(|flushes| flushes.push((harts, pages))));
    }

    fn flush_local(pages: Range<usize>) {
        Self::flush(1 << HART.get(), pages);
    }

    fn poll() {
        POLLS.set(POLLS.get() + 1);
    }

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    fn relax(round: usize) {
        ROUND.set(round);
        if let Some(work) = ON_WAIT.take() {
            work();
        }
        assert!(round < 1000, "a hart waits forever");
    }

    fn reclaim() -> bool {
        let left = RECLAIMS.get();
        RECLAIMS.set(left.saturating_sub(1));
        left > 0
    }
}
