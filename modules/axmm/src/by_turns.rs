//! Four harts that one thread is by turns.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use axalloc::fault::paused;
use page_table_entry::x86_64::X64PTE;
use page_table_multiarch::x86_64::X64PagingMetaData;

use crate::machine::Machine;

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
    type Meta = X64PagingMetaData;
    type Pte = X64PTE;
    type Pin = ();
    type Stay = ();

    fn largest_page() -> usize {
        1 << 30
    }

    fn publish_entries() {}

    fn page_mark(_: bool) -> u64 {
        0
    }

    fn forget(harts: u64, pages: Range<usize>) {
        // It takes memory also where a test makes allocations fail.
        paused(|| FLUSHES.with_borrow_mut(|flushes| flushes.push((harts, pages))));
    }

    fn forget_here(pages: Range<usize>) {
        Self::forget(1 << HART.get(), pages);
    }

    fn pin() {}

    fn stay() {}

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
