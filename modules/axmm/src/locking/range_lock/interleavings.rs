//! Every interleaving of two harts, and every order that memory may have.
//!
//! What is mapped in a block is a cell that loom watches: who brings a page reads it, for
//! many do at a time; who has claimed it writes. The areas are one that the writer writes.
//! A test fails also if a hart waits for ever.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::cell;
use loom::model::Builder;
use loom::sync::{Arc, Notify};
use loom::thread;
use page_table_multiarch::x86_64::X64PagingMetaData;

use super::*;

const HARTS: usize = 2;
const BLOCKS: usize = 3;

/// Harts of which loom knows.
struct Modelled;

/// Whether any hart has waited for another, in any run of a test.
static WAITED: AtomicBool = AtomicBool::new(false);

loom::thread_local! {
    static ME: Cell<usize> = Cell::new(0);
}

loom::lazy_static! {
    /// What ends a hart's waiting: that the other has done something, or waits itself.
    static ref WAKES: [Notify; HARTS] = [(); HARTS].map(|()| Notify::new());
}

fn wake_other() {
    WAKES[1 - ME.with(Cell::get)].notify();
}

// SAFETY: each thread of a test is the hart that it says.
unsafe impl Machine for Modelled {
    type Meta = X64PagingMetaData;
    type Pte = page_table_entry::x86_64::X64PTE;

    fn largest_page() -> usize {
        1 << 30
    }

    fn publish_entries() {}

    fn page_mark(_: bool) -> u64 {
        0
    }

    fn forget(_: u64, _: core::ops::Range<usize>) {}

    fn forget_here(_: core::ops::Range<usize>) {}

    type Pin = ();
    type Stay = ();

    fn pin() {}

    fn stay() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        unreachable!("claims are told which hart")
    }

    fn relax(_: usize) {
        WAITED.store(true, Relaxed);
        wake_other();
        WAKES[ME.with(Cell::get)].wait();
    }
}

struct Space {
    claims: Claims<Modelled>,
    areas: cell::UnsafeCell<usize>,
    mapped: [cell::UnsafeCell<usize>; BLOCKS],
}

// SAFETY: a line is its hart's, and loom sees to the cells.
unsafe impl Sync for Space {}
// SAFETY: it belongs to no hart.
unsafe impl Send for Space {}

/// Blocks, from the first to the last.
fn blocks(from: usize, to: usize) -> Bounds {
    (from << BLOCK_BITS, ((to + 1) << BLOCK_BITS) - 1)
}

impl Space {
    fn new() -> Arc<Self> {
        // Who makes them tells the other of all it has done.
        WAKES.iter().for_each(|_| {});
        Arc::new(Self {
            claims: Claims::new().unwrap(),
            areas: cell::UnsafeCell::new(0),
            mapped: [(); BLOCKS].map(|()| cell::UnsafeCell::new(0)),
        })
    }

    /// As a page fault does: brings a page of `block` once nobody else has claimed it.
    fn bring(&self, hart: usize, block: usize) {
        let addr = block << BLOCK_BITS;
        loop {
            let bringing = self.claims.bring(hart, addr).expect("it brings no other");
            let claimed = self.claims.claimed(hart, addr);
            if claimed == Claimed::No {
                self.mapped[block].with(|_| {});
            }
            drop(bringing);
            wake_other();
            if claimed == Claimed::No {
                return;
            }
            while self.claims.claimed(hart, addr) != Claimed::No {
                Modelled::relax(0);
            }
        }
    }

    /// As an operation does: claims blocks, works on them, changes the areas.
    fn change(&self, hart: usize, from: usize, to: usize) {
        self.change_and(hart, from, to, || {});
    }

    fn change_and(&self, hart: usize, from: usize, to: usize, work: impl FnOnce()) {
        let bounds = blocks(from, to);
        self.claims.begin(hart);
        if self.claims.is_claimed(hart, bounds) {
            self.claims.wait_for_claims(hart, bounds);
        }
        self.areas.with_mut(|_| {});
        self.claims.claim(hart, bounds);
        self.end();
        for block in from..=to {
            self.mapped[block].with_mut(|_| {});
        }
        work();
        self.claims.begin(hart);
        self.areas.with_mut(|_| {});
        self.claims.unclaim(hart);
        self.end();
    }

    fn end(&self) {
        self.claims.end();
        wake_other();
    }
}

/// Two harts, in every interleaving with so many preemptions.
fn harts(preemptions: usize, first: fn(&Space), second: fn(&Space)) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let space = Space::new();
        let other = space.clone();
        let other = thread::spawn(move || {
            ME.with(|me| me.set(1));
            second(&other);
        });
        first(&space);
        other.join().unwrap();
    });
}

#[test]
fn nobody_brings_a_page_where_another_has_a_claim() {
    harts(4, |space| space.bring(0, 1), |space| space.change(1, 0, 2));
}

#[test]
fn who_brings_sees_what_was_done_before() {
    harts(
        3,
        |space| {
            space.bring(0, 1);
            space.change(0, 1, 1);
        },
        |space| {
            space.change(1, 1, 1);
            space.bring(1, 1);
        },
    );
}

/// The ends of one claim are there still, or of the next one already, as a hart looks.
#[test]
fn ends_of_another_claim_lead_nobody_astray() {
    let up = |space: &Space| {
        space.change(1, 0, 0);
        space.change(1, 2, 2);
    };
    let down = |space: &Space| {
        space.change(1, 2, 2);
        space.change(1, 0, 0);
    };
    for change in [up as fn(&Space), down] {
        harts(3, |space| space.bring(0, 0), change);
        harts(3, |space| space.bring(0, 2), change);
    }
}

/// As tables are given back: a claim becomes a wider one.
#[test]
fn a_claim_may_grow() {
    harts(
        3,
        |space| space.bring(0, 0),
        |space| {
            space.claims.begin(1);
            space.claims.claim(1, blocks(1, 1));
            space.end();
            space.mapped[1].with_mut(|_| {});
            space.claims.begin(1);
            space.claims.claim(1, blocks(0, 1));
            space.end();
            space.mapped[0].with_mut(|_| {});
            space.claims.begin(1);
            space.claims.unclaim(1);
            space.end();
        },
    );
}

#[test]
fn claims_do_not_overlap() {
    harts(
        3,
        |space| space.change(0, 0, 1),
        |space| space.change(1, 1, 2),
    );
}

/// One has its claim until the other, elsewhere, is done: nobody waits for ever.
#[test]
fn claims_side_by_side_do_not_wait_for_each_other() {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let space = Space::new();
        let done = Arc::new(Notify::new());
        let (other, tells) = (space.clone(), done.clone());
        let other = thread::spawn(move || {
            ME.with(|me| me.set(1));
            other.change(1, 2, 2);
            other.bring(1, 1);
            tells.notify();
        });
        space.change_and(0, 0, 0, || done.wait());
        other.join().unwrap();
    });
}

/// As where zones change: who has closed is alone, whatever others have begun.
#[test]
fn who_closes_is_alone() {
    let close = |space: &Space| {
        while !space.claims.try_close(1) {
            Modelled::relax(0);
        }
        space.areas.with_mut(|_| {});
        space.mapped.iter().for_each(|block| block.with_mut(|_| {}));
        space.claims.open(1);
        wake_other();
    };
    harts(3, |space| space.bring(0, 1), close);
    harts(3, |space| space.change(0, 0, 1), close);
}

/// Once a hart has made others give way, nobody does anything here.
#[test]
fn who_comes_later_is_sent_away() {
    let give_way = |space: &Space| {
        let alone = || {
            space.areas.with_mut(|_| {});
            space.mapped.iter().for_each(|block| block.with_mut(|_| {}));
        };
        while !space.claims.give_way(1, alone) {
            Modelled::relax(0);
        }
        wake_other();
    };
    let bring = |space: &Space| {
        for _ in 0..2 {
            match space.claims.bring(0, 1 << BLOCK_BITS) {
                Some(_bringing) => space.mapped[1].with(|_| {}),
                None => assert!(!space.claims.is_bringing(0)),
            }
            wake_other();
        }
    };
    let change = |space: &Space| {
        for _ in 0..2 {
            if space.claims.try_begin(0) {
                space.areas.with_mut(|_| {});
                space.claims.claim(0, blocks(0, 1));
                space.end();
                space.mapped[0].with_mut(|_| {});
                // The claim stands: nobody is sent away.
                space.claims.begin(0);
                space.areas.with_mut(|_| {});
                space.claims.unclaim(0);
                space.end();
            }
            wake_other();
        }
    };
    harts(3, bring, give_way);
    harts(3, change, give_way);
}

/// The tests above say nothing if no hart ever meets another.
#[test]
fn harts_meet() {
    harts(2, |space| space.bring(0, 1), |space| space.change(1, 1, 1));
    assert!(WAITED.load(Relaxed));
}
