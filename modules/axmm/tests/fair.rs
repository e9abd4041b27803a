//! A hart that waits for its turn is not overtaken again and again: harts are threads that
//! work on overlapping ranges in a loop, and count.
//!
//! Each operation counts once, while its range is locked. The hart that is watched reads the
//! counts of the others as it begins to wait in the queue, and when it has its turn. Nothing
//! is timed.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use axmm::{AddrSpace, Machine};

mod support;

use support::{GIB, KIB4, RO, RW, TestMachine, X64, alone, virt};

const HARTS: usize = 4;
/// How often the watched hart has to wait before a test ends.
const WAITS: usize = if cfg!(miri) { 3 } else { 500 };
/// Operations of each other hart that may start while the watched one waits: one that had
/// started already but not counted yet, and one that was ahead in the queue.
const MOST: usize = 2;
const PAGES: usize = 16;

/// How many operations each hart has performed.
static COUNTS: [AtomicUsize; HARTS] = [const { AtomicUsize::new(0) }; HARTS];

type Counts = [usize; HARTS];

thread_local! {
    static HART: Cell<usize> = const { Cell::new(0) };
    /// The operation of this hart has counted.
    static HAS_COUNTED: Cell<bool> = const { Cell::new(false) };
    /// Interrupts have been kept out since the first turn of waiting.
    static HAS_PINNED: Cell<bool> = const { Cell::new(false) };
    /// The counts at the first turn of the latest wait.
    static AT_FIRST_TURN: Cell<Counts> = const { Cell::new([0; HARTS]) };
    /// The counts as this hart began to wait in the queue.
    static QUEUED_AT: Cell<Option<Counts>> = const { Cell::new(None) };
    /// The counts when this hart had its turn after that.
    static SERVED_AT: Cell<Option<Counts>> = const { Cell::new(None) };
}

fn counts() -> Counts {
    std::array::from_fn(|hart| COUNTS[hart].load(Relaxed))
}

/// This hart has its turn, and its range is locked.
fn is_served() {
    if !HAS_COUNTED.replace(true) {
        SERVED_AT.set(Some(counts()));
        COUNTS[HART.get()].fetch_add(1, Relaxed);
        // The others meet the locked range.
        thread::yield_now();
    }
}

/// A machine of threads that count.
struct Counting;

// SAFETY: each thread of a test is a hart of its own.
unsafe impl Machine for Counting {
    axmm::page_tables_of!(X64);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {
        is_served();
    }

    fn flush(_: u64, _: Range<usize>) {
        is_served();
    }

    fn flush_local(_: Range<usize>) {
        is_served();
    }

    fn disable_irqs() {
        HAS_PINNED.set(true);
    }

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    /// In the queue a hart waits turn after turn as its caller is. For the index lock it
    /// keeps interrupts out after each turn, to try again.
    fn relax(turn: usize) {
        match turn {
            0 => {
                HAS_PINNED.set(false);
                AT_FIRST_TURN.set(counts());
            }
            1 if !HAS_PINNED.get() && QUEUED_AT.get().is_none() => {
                QUEUED_AT.set(Some(AT_FIRST_TURN.get()));
            }
            _ => {}
        }
        thread::yield_now();
    }
}

type Space = AddrSpace<Counting>;

fn space() -> Space {
    let space = Space::new_empty(virt(X64::base()), GIB).unwrap();
    map(&space, 0..PAGES, true);
    space
}

fn at(page: usize) -> axmm::VirtAddr {
    virt(X64::base() + page * KIB4)
}

/// Some pages may be mapped already.
fn map(space: &Space, pages: Range<usize>, populate: bool) {
    _ = space.map_alloc(at(pages.start), pages.len() * KIB4, RW, populate);
}

/// Some pages may not be mapped.
fn protect(space: &Space, pages: Range<usize>, write: bool) {
    let rights = if write { RW } else { RO };
    _ = space.protect(at(pages.start), pages.len() * KIB4, rights);
}

fn unmap(space: &Space, pages: Range<usize>) {
    space
        .unmap(at(pages.start), pages.len() * KIB4)
        .expect("memory is enough");
}

fn begin() {
    HAS_COUNTED.set(false);
    QUEUED_AT.set(None);
    SERVED_AT.set(None);
}

/// Lets hart 0 do `watched` until it has had to wait often enough, while each other hart does
/// `work` in a loop. Both are told the number of the round.
fn run(watched: impl Fn(&Space, usize), work: impl Fn(&Space, usize) + Sync) {
    let _alone = alone();
    let space = space();
    let is_over = AtomicBool::new(false);
    let mut most = 0;
    thread::scope(|scope| {
        for hart in 1..HARTS {
            let (space, is_over, work) = (&space, &is_over, &work);
            scope.spawn(move || {
                HART.set(hart);
                for round in 0.. {
                    if is_over.load(Relaxed) {
                        return;
                    }
                    begin();
                    work(space, hart + round);
                }
            });
        }
        HART.set(0);
        let mut waits = 0;
        for round in 0.. {
            begin();
            watched(&space, round);
            if let (Some(queued), Some(served)) = (QUEUED_AT.get(), SERVED_AT.get()) {
                waits += 1;
                let others = (1..HARTS).map(|hart| served[hart] - queued[hart]);
                most = others.fold(most, usize::max);
            }
            if waits == WAITS || most > MOST {
                break;
            }
        }
        is_over.store(true, Relaxed);
    });
    assert!(most <= MOST, "a hart was overtaken {most} times by another");
}

/// One of several operations, which all change the pages in the middle.
fn change(space: &Space, round: usize) {
    let middle = PAGES / 2;
    let pages = middle - 1 - round % 5..middle + 1 + round % 7;
    match round % 4 {
        0 => protect(space, pages, false),
        1 => protect(space, pages, true),
        2 => unmap(space, 0..PAGES),
        _ => map(space, 0..PAGES, true),
    }
}

#[test]
fn an_operation_waits_for_two_of_each_other_hart_at_most() {
    run(change, change);
}

#[test]
fn an_operation_on_one_page_waits_for_no_more_of_those_on_all() {
    run(
        |space, round| protect(space, 5..6, round % 2 == 0),
        |space, round| protect(space, 0..PAGES, round % 2 == 0),
    );
}

#[test]
fn a_page_fault_waits_for_two_operations_of_each_other_hart_at_most() {
    run(
        |space, _| _ = space.handle_page_fault(at(5), RO),
        |space, round| protect(space, round % 5..PAGES, round % 2 == 0),
    );
}

/// Harts that fault in a loop keep no operation from its turn.
#[test]
fn operations_end_while_other_harts_fault_on_their_pages() {
    let _alone = alone();
    let space = space();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for hart in 1..HARTS {
            let (space, is_over) = (&space, &is_over);
            scope.spawn(move || {
                HART.set(hart);
                for page in (0..PAGES).cycle() {
                    if is_over.load(Relaxed) {
                        return;
                    }
                    begin();
                    _ = space.handle_page_fault(at(page), RO);
                }
            });
        }
        HART.set(0);
        for round in 0..WAITS {
            begin();
            match round % 4 {
                0 => unmap(&space, 2..10),
                1 => map(&space, 2..10, false),
                2 => protect(&space, 0..PAGES, false),
                _ => protect(&space, 0..PAGES, true),
            }
        }
        is_over.store(true, Relaxed);
    });
}
