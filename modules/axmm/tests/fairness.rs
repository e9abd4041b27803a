//! A waiting hart is not overtaken again and again. Harts are threads that work on overlapping
//! ranges in a loop, and count.
//!
//! Each operation is counted once, while its range is locked. The watched hart reads the
//! counts of the others after it has drawn its ticket, and again when its own range is locked.
//! No time is measured.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::thread;

use axmm::{AddrSpace, Machine};

mod support;

use support::{GIB, KIB4, RO, RW, TestMachine, X64, alone, virt};

const HARTS: usize = 4;
/// The number of times that the watched hart must wait before a test ends.
const WAITS: usize = if cfg!(miri) { 3 } else { 500 };
/// The number of operations of each other hart that may be counted while the watched one waits.
///
/// When the watched hart draws its ticket, another hart has at most one operation under way,
/// which is locked and not yet counted, or is ahead in the queue. Its next operation gets a
/// higher ticket, so it starts after the watched hart has unlocked its range. All ranges of a
/// test overlap, so there are no other operations. No page is large: an operation that finds a
/// large page at an end of its range may have to wait a second time.
const MOST: usize = 1;
const PAGES: usize = 16;

/// The number of operations that each hart has performed.
static COUNTS: [AtomicUsize; HARTS] = [const { AtomicUsize::new(0) }; HARTS];

type Counts = [usize; HARTS];

thread_local! {
    static HART: Cell<usize> = const { Cell::new(0) };
    /// Whether this hart's operation is counted.
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
    /// Whether interrupts have been disabled since the first turn of waiting.
    static HAS_DISABLED_IRQS: Cell<bool> = const { Cell::new(false) };
    /// The counts at the first turn of the latest wait.
    static AT_FIRST_TURN: Cell<Counts> = const { Cell::new([0; HARTS]) };
    /// The counts when this hart began to wait in the queue.
    static AT_TICKET: Cell<Option<Counts>> = const { Cell::new(None) };
    /// The counts when the range of this hart's operation was locked.
    static AT_START: Cell<Option<Counts>> = const { Cell::new(None) };
    /// The most that another hart's count grew during one wait in which interrupts stayed out.
    static GROWTH_WITHOUT_IRQS: Cell<usize> = const { Cell::new(0) };
}

/// SeqCst: the watched hart sees all counts but those of operations and faults that are under
/// way. Each hart counts before it next takes the index lock or its fault slot.
fn counts() -> Counts {
    std::array::from_fn(|hart| COUNTS[hart].load(SeqCst))
}

/// Counts this hart's operation, whose range is locked.
fn count_operation() {
    if !IS_COUNTED.replace(true) {
        AT_START.set(Some(counts()));
        COUNTS[HART.get()].fetch_add(1, SeqCst);
        // Other harts run now, and must wait for the locked range.
        thread::yield_now();
    }
}

/// A machine whose harts are threads that count operations.
struct Counting;

// SAFETY: each thread of a test has a number of its own below `HARTS`.
unsafe impl Machine for Counting {
    axmm::page_tables_of!(X64);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {
        count_operation();
    }

    fn flush(_: u64, _: Range<usize>) {
        count_operation();
    }

    fn flush_local(_: Range<usize>) {
        count_operation();
    }

    fn disable_irqs() {
        HAS_DISABLED_IRQS.set(true);
    }

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        HART.get()
    }

    /// A hart in the queue waits turn after turn with interrupts as its caller has them. A hart
    /// that waits for the index lock disables them after each turn, to try again.
    fn relax(turn: usize) {
        match turn {
            0 => {
                HAS_DISABLED_IRQS.set(false);
                AT_FIRST_TURN.set(counts());
            }
            1 if !HAS_DISABLED_IRQS.get() && AT_TICKET.get().is_none() => {
                AT_TICKET.set(Some(AT_FIRST_TURN.get()));
            }
            _ => {}
        }
        if turn > 0 && !HAS_DISABLED_IRQS.get() {
            let (before, now) = (AT_FIRST_TURN.get(), counts());
            let growth = (0..HARTS).map(|hart| now[hart] - before[hart]);
            let most = growth.fold(GROWTH_WITHOUT_IRQS.get(), usize::max);
            GROWTH_WITHOUT_IRQS.set(most);
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

/// Maps pages. That fails if some of them are mapped already.
fn map(space: &Space, pages: Range<usize>, populate: bool) {
    _ = space.map_alloc(at(pages.start), pages.len() * KIB4, RW, populate);
}

/// Changes the rights of pages. That fails if some of them are not mapped.
fn protect(space: &Space, pages: Range<usize>, write: bool) {
    let rights = if write { RW } else { RO };
    _ = space.protect(at(pages.start), pages.len() * KIB4, rights);
}

fn unmap(space: &Space, pages: Range<usize>) {
    space
        .unmap(at(pages.start), pages.len() * KIB4)
        .expect("memory is enough");
}

/// Prepares this hart for its next operation.
fn begin() {
    IS_COUNTED.set(false);
    AT_TICKET.set(None);
    AT_START.set(None);
}

/// Lets hart 0 do `watched` while each other hart does `work` in a loop, with its number and that
/// of the round.
fn beside_others(watched: impl FnOnce(&Space), work: impl Fn(&Space, usize, usize) + Sync) {
    let _alone = alone();
    let space = space();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for hart in 1..HARTS {
            let (space, is_over, work) = (&space, &is_over, &work);
            scope.spawn(move || {
                HART.set(hart);
                for round in 0.. {
                    if is_over.load(Relaxed) {
                        return;
                    }
                    work(space, hart, round);
                }
            });
        }
        HART.set(0);
        watched(&space);
        is_over.store(true, Relaxed);
    });
}

/// Lets hart 0 do `watched` until it has had to wait often enough, while each other hart does
/// `work` in a loop. Both are told the number of the round.
fn run(watched: impl Fn(&Space, usize), work: impl Fn(&Space, usize) + Sync) {
    let mut most = 0;
    let count_waits = |space: &Space| {
        let mut waits = 0;
        for round in 0.. {
            begin();
            watched(space, round);
            if let (Some(before), Some(after)) = (AT_TICKET.get(), AT_START.get()) {
                waits += 1;
                let others = (1..HARTS).map(|hart| after[hart] - before[hart]);
                most = others.fold(most, usize::max);
            }
            if waits == WAITS || most > MOST {
                break;
            }
        }
    };
    beside_others(count_waits, |space, hart, round| {
        begin();
        work(space, hart + round);
    });
    assert!(most <= MOST, "a hart was overtaken {most} times by another");
}

/// Performs one of several operations, all of which change the pages in the middle.
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
fn each_other_hart_overtakes_an_operation_once_at_most() {
    run(change, change);
}

#[test]
fn operations_on_all_pages_overtake_one_on_a_single_page_once_at_most() {
    run(
        |space, round| protect(space, 5..6, round % 2 == 0),
        |space, round| protect(space, 0..PAGES, round % 2 == 0),
    );
}

#[test]
fn each_other_hart_overtakes_a_page_fault_once_at_most() {
    run(
        |space, _| _ = space.handle_page_fault(at(5), RO),
        |space, round| protect(space, round % 5..PAGES, round % 2 == 0),
    );
}

/// Harts that take page faults in a loop do not keep an operation from its turn.
#[test]
fn operations_end_while_other_harts_fault_on_their_pages() {
    let change = |space: &Space| {
        for round in 0..WAITS {
            begin();
            match round % 4 {
                0 => unmap(space, 2..10),
                1 => map(space, 2..10, false),
                2 => protect(space, 0..PAGES, false),
                _ => protect(space, 0..PAGES, true),
            }
        }
    };
    beside_others(change, |space, _, round| {
        begin();
        _ = space.handle_page_fault(at(round % PAGES), RO);
    });
}

/// Faults beside a range, in its 2 MiB block, do not prolong the wait for those in the block. Only
/// the watched hart performs operations, so it waits in no queue: it keeps interrupts out while it
/// waits for fault slots alone.
///
/// A fault that is under way when the wait begins is counted as it ends. The next one of its hart
/// finds the block locked.
#[test]
fn an_operation_waits_for_one_fault_of_each_other_hart_at_most() {
    let rounds = if cfg!(miri) { WAITS } else { 100 * WAITS };
    let protect_often =
        |space: &Space| (0..rounds).for_each(|round| protect(space, 8..9, round % 2 == 0));
    beside_others(protect_often, |space, hart, _| {
        // The fault's flush is not counted as an operation.
        IS_COUNTED.set(true);
        assert!(space.handle_page_fault(at(hart), RO));
        COUNTS[hart].fetch_add(1, SeqCst);
    });
    let most = GROWTH_WITHOUT_IRQS.get();
    assert!(most <= 1, "an operation waited for {most} faults of a hart");
}
