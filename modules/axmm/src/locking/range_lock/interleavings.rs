//! Two harts that fault and change, in every interleaving.
//!
//! What is mapped in a block is a cell that loom watches. A page fault reads it, because
//! several may run at a time; an operation that has locked the block writes it. The areas
//! are a cell that each holder of the index lock writes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell;
use loom::sync::Notify;

use super::*;
use crate::addr::va_range;
use crate::locking::modelled::{Modelled, WAITED, harts, wake_other};
use crate::locking::turn::{Request, wait_for_turn};

const BLOCKS: usize = 3;

/// A range lock, and what it guards.
struct Space {
    lock: RangeLock<Modelled>,
    areas: cell::UnsafeCell<usize>,
    mapped: [cell::UnsafeCell<usize>; BLOCKS],
    /// How often hart 1 has had its turn, for tests that count. Loom does not see it.
    served: AtomicUsize,
    /// The other hart may go on, where a test says so.
    go_on: Notify,
}

// SAFETY: each fault slot is used by its own hart, and loom checks the cells.
unsafe impl Sync for Space {}
// SAFETY: nothing in it depends on the thread.
unsafe impl Send for Space {}

/// The addresses of blocks `from` to `to`, both included.
fn blocks(from: usize, to: usize) -> VirtAddrRange {
    va_range(from << LARGE_PAGE_BITS, (to + 1) << LARGE_PAGE_BITS)
}

impl Space {
    fn new() -> Self {
        Self {
            lock: RangeLock::new(HartState::of_others::<Modelled>().unwrap()),
            areas: cell::UnsafeCell::new(0),
            mapped: [(); BLOCKS].map(|()| cell::UnsafeCell::new(0)),
            served: AtomicUsize::new(0),
            go_on: Notify::new(),
        }
    }

    /// Faults a page of `block` in.
    fn fault(&self, hart: usize, block: usize) {
        let addr = VirtAddr::from_usize(block << LARGE_PAGE_BITS);
        let mut slot = self.lock.take_slot(hart, addr);
        if self.lock.is_locked(addr) {
            drop(slot);
            wake_other();
            self.lock.lock_index_in_turn(hart, one_address(addr));
            self.serve(hart);
            slot = self.lock.take_slot(hart, addr);
            self.unlock_index();
        }
        assert!(slot.is_some(), "no other fault of this hart");
        self.mapped[block].with(|_| {});
        drop(slot);
        wake_other();
    }

    /// Performs an operation on blocks: locks them, changes what is mapped, then the areas.
    fn change(&self, hart: usize, from: usize, to: usize) {
        self.change_and(hart, from, to, || {});
    }

    /// An operation that also does `work` with its blocks locked.
    fn change_and(&self, hart: usize, from: usize, to: usize, work: impl FnOnce()) {
        self.begin(hart, from, to);
        self.serve(hart);
        self.unlock_index();
        for block in from..=to {
            self.mapped[block].with_mut(|_| {});
        }
        work();
        self.end(hart);
    }

    /// Locks blocks, and leaves the index lock held.
    fn begin(&self, hart: usize, from: usize, to: usize) {
        let range = blocks(from, to);
        self.lock.lock_index_in_turn(hart, range);
        self.areas.with_mut(|_| {});
        self.lock.lock(hart, range);
    }

    /// Unlocks the blocks.
    fn end(&self, hart: usize) {
        self.lock.index().lock(hart, &mut None);
        self.areas.with_mut(|_| {});
        self.lock.unlock(hart);
        self.unlock_index();
    }

    fn unlock_index(&self) {
        self.lock.index().unlock();
        wake_other();
    }

    fn serve(&self, hart: usize) {
        self.served.fetch_add(hart, Relaxed);
    }

    /// Lets hart 1 go on, and waits until it is in the queue.
    fn let_the_other_queue(&self) {
        self.go_on.notify();
        while !self.lock.is_busy(1) {
            Modelled::relax(0);
        }
    }
}

#[test]
fn a_fault_never_touches_a_block_that_another_hart_has_locked() {
    harts(
        3,
        Space::new,
        |space| space.fault(0, 1),
        |space| space.change(1, 0, 2),
    );
}

#[test]
fn a_fault_sees_what_was_done_before() {
    harts(
        2,
        Space::new,
        |space| {
            space.fault(0, 1);
            space.change(0, 1, 1);
        },
        |space| {
            space.change(1, 1, 1);
            space.fault(1, 1);
        },
    );
}

/// A fault may read one end of an earlier range and one of the range that replaces it.
#[test]
fn a_fault_is_not_misled_by_the_ends_of_two_ranges() {
    let up = |space: &Space| {
        space.change(1, 0, 0);
        space.change(1, 2, 2);
    };
    let down = |space: &Space| {
        space.change(1, 2, 2);
        space.change(1, 0, 0);
    };
    for change in [up as fn(&Space), down] {
        harts(2, Space::new, |space| space.fault(0, 0), change);
        harts(2, Space::new, |space| space.fault(0, 2), change);
    }
}

/// A locked range is replaced by a wider one where tables are freed.
#[test]
fn a_locked_range_may_grow() {
    harts(
        3,
        Space::new,
        |space| space.fault(0, 0),
        |space| {
            space.begin(1, 1, 1);
            space.unlock_index();
            space.mapped[1].with_mut(|_| {});
            space.lock.index().lock(1, &mut None);
            space.lock.lock(1, blocks(0, 1));
            space.unlock_index();
            space.mapped[0].with_mut(|_| {});
            space.end(1);
        },
    );
}

#[test]
fn locked_ranges_do_not_overlap() {
    harts(
        3,
        Space::new,
        |space| space.change(0, 0, 1),
        |space| space.change(1, 1, 2),
    );
}

/// Hart 0 keeps its range locked until hart 1 has finished elsewhere.
#[test]
fn ranges_side_by_side_do_not_wait_for_each_other() {
    harts(
        3,
        Space::new,
        |space| space.change_and(0, 0, 0, || space.go_on.wait()),
        |space| {
            space.change(1, 2, 2);
            space.fault(1, 1);
            space.go_on.notify();
        },
    );
}

/// Hart 0 unlocks its range and asks for it again at once.
fn asks_again(space: &Space) {
    space.change_and(0, 0, 1, || space.let_the_other_queue());
    space.change_and(0, 0, 1, || {
        assert_eq!(space.served.load(Relaxed), 1, "hart 1 asked earlier");
    });
}

#[test]
fn an_operation_in_the_queue_comes_before_one_that_asks_later() {
    harts(2, Space::new, asks_again, |space| {
        space.go_on.wait();
        space.change(1, 1, 2);
    });
}

#[test]
fn a_fault_in_the_queue_comes_before_an_operation_that_asks_later() {
    harts(2, Space::new, asks_again, |space| {
        space.go_on.wait();
        space.fault(1, 1);
    });
}

/// A fault that finds a range unlocked does not wait for those in the queue.
#[test]
fn a_fault_runs_while_an_operation_is_in_the_queue() {
    harts(
        2,
        Space::new,
        |space| {
            space.change_and(0, 0, 0, || space.let_the_other_queue());
            space.fault(0, 1);
        },
        |space| {
            space.go_on.wait();
            space.change(1, 0, 1);
        },
    );
}

/// An operation over two shards, each with a range lock of its own.
fn change_both(spaces: &[Space; 2], hart: usize, block: usize) {
    let range = blocks(block, block);
    let requests = [&spaces[0], &spaces[1]].map(|space| Request {
        lock: &space.lock,
        range,
    });
    for space in spaces {
        space.lock.index().lock_beside_others(hart);
    }
    wait_for_turn::<Modelled>(&requests, hart, &mut None);
    for space in spaces {
        space.lock.dequeue(hart);
        space.areas.with_mut(|_| {});
        space.lock.lock(hart, range);
    }
    spaces.iter().for_each(Space::unlock_index);
    for space in spaces {
        space.mapped[block].with_mut(|_| {});
    }
    spaces.iter().for_each(|space| space.end(hart));
}

#[test]
fn an_operation_over_two_shards_has_its_turn_in_both_at_once() {
    let make = || [Space::new(), Space::new()];
    harts(
        2,
        make,
        |spaces| change_both(spaces, 0, 1),
        |spaces| spaces[1].change(1, 1, 1),
    );
    harts(
        1,
        make,
        |spaces| change_both(spaces, 0, 1),
        |spaces| change_both(spaces, 1, 1),
    );
}

/// The tests above say nothing if no hart ever meets the other.
#[test]
fn harts_meet() {
    harts(
        2,
        Space::new,
        |space| space.fault(0, 1),
        |space| space.change(1, 1, 1),
    );
    assert!(WAITED.load(Relaxed));
}
