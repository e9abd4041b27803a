//! Two harts that take the index lock, in every interleaving.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell;
use loom::sync::Notify;

use super::*;
use crate::locking::modelled::{Modelled, harts, wake_other};

/// The lock, and what it guards.
struct Guarded {
    index: IndexLock<Modelled>,
    areas: cell::UnsafeCell<usize>,
    /// How often hart 1 has held the lock. Loom does not see it.
    served: AtomicUsize,
    /// Hart 1 may go on.
    go_on: Notify,
}

// SAFETY: loom checks the cell.
unsafe impl Sync for Guarded {}
// SAFETY: nothing in it depends on the thread.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Self {
        Self {
            index: IndexLock::new(),
            areas: cell::UnsafeCell::new(0),
            served: AtomicUsize::new(0),
            go_on: Notify::new(),
        }
    }

    fn change(&self, hart: usize) {
        self.change_and(hart, || {});
    }

    fn change_and(&self, hart: usize, work: impl FnOnce()) {
        self.index.lock(hart, &mut None);
        self.areas.with_mut(|_| {});
        self.served.fetch_add(hart, Relaxed);
        work();
        self.index.unlock();
        wake_other();
    }
}

#[test]
fn the_lock_is_held_by_one_hart_at_a_time() {
    harts(
        3,
        Guarded::new,
        |guarded| {
            guarded.change(0);
            guarded.change(0);
        },
        |guarded| {
            guarded.change(1);
            guarded.change(1);
        },
    );
}

/// Hart 0 unlocks when hart 1 has waited long, and locks again at once.
#[test]
fn a_hart_that_has_waited_long_comes_first() {
    harts(
        3,
        Guarded::new,
        |guarded| {
            guarded.change_and(0, || {
                guarded.go_on.notify();
                while guarded.index.waiting.load(Ordering::Relaxed) == 0 {
                    Modelled::relax(0);
                }
            });
            guarded.change_and(0, || {
                assert_eq!(guarded.served.load(Relaxed), 1, "hart 1 has waited");
            });
        },
        |guarded| {
            guarded.go_on.wait();
            guarded.change(1);
        },
    );
}

#[test]
fn a_lock_that_was_handed_over_is_free_for_any_hart_afterwards() {
    harts(
        2,
        Guarded::new,
        |guarded| {
            guarded.change(0);
            guarded.change(0);
            guarded.change(0);
        },
        |guarded| guarded.change(1),
    );
}
