//! Every interleaving of two harts, and every order that memory may have.
//!
//! Loom follows two threads that spin; of three it would follow two that spin for each
//! other without end.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Arc, Notify};
use loom::thread;

use super::*;

const HARTS: usize = 2;

/// The harts, what they know, and which of them has an interrupt to take.
struct Machine {
    requests: Requests<HARTS>,
    /// What ends a hart's sleep: an interrupt, or that all is over.
    wakes: [Notify; HARTS],
    /// How many interrupts have been sent.
    sent: AtomicUsize,
    /// How many have yet to ask, or wait for answers.
    at_work: AtomicUsize,
    /// What each hart has written to the table.
    table: [UnsafeCell<usize>; HARTS],
    /// How often each has forgotten what the other has asked.
    forgotten: [UnsafeCell<usize>; HARTS],
}

fn pages_of(hart: usize) -> Range<usize> {
    (hart + 1) * 0x1000..(hart + 1) * 0x1000 + 0x100
}

impl Machine {
    fn new(at_work: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Requests::new(),
            wakes: [(); HARTS].map(|()| Notify::new()),
            sent: AtomicUsize::new(0),
            at_work: AtomicUsize::new(at_work),
            table: [(); HARTS].map(|()| UnsafeCell::new(0)),
            forgotten: [(); HARTS].map(|()| UnsafeCell::new(0)),
        })
    }

    /// Loom fails if what the asking hart has written is not there to be read.
    fn forget(&self, me: usize, pages: Range<usize>) {
        assert_eq!(pages, pages_of(1 - me), "hart {me} forgets something else");
        // SAFETY: loom sees to it that nobody writes.
        self.table[1 - me].with(|table| assert_ne!(unsafe { *table }, 0));
        // SAFETY: loom sees to it that nobody else is there.
        self.forgotten[me].with_mut(|count| unsafe { *count += 1 });
    }

    /// Loom fails if the other hart is still about to forget when this has its answer.
    fn ask(&self, me: usize) {
        // SAFETY: loom sees to it that nobody else is there.
        let written = self.table[me].with_mut(|table| unsafe {
            *table += 1;
            *table
        });
        let interrupt = |hart: usize| {
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.wakes[hart].notify();
        };
        let forget = |pages| self.forget(me, pages);
        let other = 1 << (1 - me);
        self.requests
            .ask(me, other, pages_of(me), interrupt, forget);
        // SAFETY: loom sees to it that nobody writes.
        let count = self.forgotten[1 - me].with(|count| unsafe { *count });
        assert_eq!(count, written, "each request is answered once");
    }

    /// The last that is ends it for all.
    fn is_done(&self) {
        if self.at_work.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wakes.iter().for_each(Notify::notify);
        }
    }

    /// Takes interrupts, and looks at nothing without one.
    fn let_interrupts_in(&self, me: usize) {
        while self.at_work.load(Ordering::Acquire) != 0 {
            self.wakes[me].wait();
            self.requests.answer(me, |pages| self.forget(me, pages));
        }
    }
}

fn in_a_thread(machine: &Arc<Machine>, f: impl FnOnce(&Machine) + 'static) -> impl FnOnce() {
    let machine = machine.clone();
    let thread = thread::spawn(move || f(&machine));
    || thread.join().unwrap()
}

#[test]
fn two_that_ask_each_other_both_go_on() {
    static WITHOUT_INTERRUPTS: AtomicBool = AtomicBool::new(false);
    loom::model(|| {
        let machine = Machine::new(HARTS);
        let hart = |me, machine: &Machine| {
            machine.ask(me);
            machine.is_done();
            machine.let_interrupts_in(me);
        };
        let other = in_a_thread(&machine, move |machine| hart(1, machine));
        hart(0, &machine);
        other();
        if machine.sent.load(Ordering::Relaxed) == 0 {
            WITHOUT_INTERRUPTS.store(true, Relaxed);
        }
    });
    assert!(WITHOUT_INTERRUPTS.load(Relaxed), "both look as they wait");
}

/// One hart answers as it waits for something while the handler of the interrupt does:
/// each request is answered once, also the next one of the same hart.
#[test]
fn a_handler_and_who_waits_do_not_answer_twice() {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let machine = Machine::new(1);
        let handler = in_a_thread(&machine, |machine| machine.let_interrupts_in(1));
        let asker = in_a_thread(&machine, |machine| {
            machine.ask(0);
            machine.ask(0);
            machine.is_done();
        });
        for _ in 0..2 {
            if machine.requests.asks(1) {
                let forget = |pages| machine.forget(1, pages);
                machine.requests.answer(1, forget);
            }
        }
        handler();
        asker();
    });
}
