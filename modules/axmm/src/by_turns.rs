//! Four harts that one thread is by turns.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use axalloc::fault::paused;

use crate::machine::{Machine, ThisMachine};

/// How many harts there are.
pub const HARTS: usize = 4;

/// The machine of the four harts.
pub struct Four;

std::thread_local! {
    static HART: Cell<usize> = const { Cell::new(0) };
    /// What another hart does when this one next waits.
    pub static AS_IT_WAITS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// The turn of waiting that the hart is at.
    pub static TURN: Cell<usize> = const { Cell::new(0) };
    /// What has been flushed: harts, a bit for each, and addresses.
    pub static FLUSHES: RefCell<Vec<(u64, Range<usize>)>> = const { RefCell::new(Vec::new()) };
}

/// Does `work` as another hart.
pub fn as_hart<R>(hart: usize, work: impl FnOnce() -> R) -> R {
    let this = HART.replace(hart);
    let result = work();
    HART.set(this);
    result
}

/// Lets another hart do `work` at the `turn`th turn of waiting.
pub fn at_turn(turn: usize, work: impl FnOnce() + 'static) {
    AS_IT_WAITS.set(Some(match turn {
        0 => Box::new(work),
        _ => Box::new(move || at_turn(turn - 1, work)),
    }));
}

// SAFETY: the tests run on one thread each, whose number changes between operations alone.
unsafe impl Machine for Four {
    crate::page_tables_of!(ThisMachine);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {}

    fn flush(harts: u64, pages: Range<usize>) {
        // It takes memory also where a test makes allocations fail.
        paused(|| FLUSHES.with_borrow_mut(|flushes| flushes.push((harts, pages))));
    }

    fn flush_local(pages: Range<usize>) {
        Self::flush(1 << HART.get(), pages);
    }

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    fn relax(turn: usize) {
        TURN.set(turn);
        if let Some(work) = AS_IT_WAITS.take() {
            work();
        }
        assert!(turn < 1000, "a hart waits for ever");
    }
}
