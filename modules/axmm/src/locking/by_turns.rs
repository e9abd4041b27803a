//! Four harts that one thread is by turns.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::ops::Range;

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
}

/// Does `work` as another hart.
pub fn as_hart<R>(hart: usize, work: impl FnOnce() -> R) -> R {
    let this = HART.replace(hart);
    let result = work();
    HART.set(this);
    result
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

    fn forget(_: u64, _: Range<usize>) {}

    fn forget_here(_: Range<usize>) {}

    fn pin() {}

    fn stay() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    fn relax(turn: usize) {
        if let Some(work) = AS_IT_WAITS.take() {
            work();
        }
        assert!(turn < 1000, "a hart waits for ever");
    }
}
