//! Tests of two harts, in every interleaving and in every memory order that is allowed.
//!
//! Loom can explore two threads that spin. With three harts it would not end, because it
//! would explore endless turns of two harts that spin for each other.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Arc, Notify};
use loom::thread;

use super::*;

const HARTS: usize = 2;

/// Two harts, their mailboxes, and the interrupts that they have yet to take.
struct Machine {
    mailboxes: Mailboxes<HARTS>,
    /// Wakes a hart: it has an interrupt to take, or all harts have finished.
    wakes: [Notify; HARTS],
    /// The number of interrupts that have been sent.
    sent: AtomicUsize,
    /// The number of harts that have yet to send a request or wait for it.
    at_work: AtomicUsize,
    /// What each hart has written to the page table.
    table: [UnsafeCell<usize>; HARTS],
    /// How often each hart has flushed for the other.
    flushed: [UnsafeCell<usize>; HARTS],
}

fn pages_of(hart: usize) -> Range<usize> {
    (hart + 1) * 0x1000..(hart + 1) * 0x1000 + 0x100
}

impl Machine {
    fn new(at_work: usize) -> Arc<Self> {
        Arc::new(Self {
            mailboxes: Mailboxes::new(),
            wakes: [(); HARTS].map(|()| Notify::new()),
            sent: AtomicUsize::new(0),
            at_work: AtomicUsize::new(at_work),
            table: [(); HARTS].map(|()| UnsafeCell::new(0)),
            flushed: [(); HARTS].map(|()| UnsafeCell::new(0)),
        })
    }

    /// Carries out a request. Loom fails the test if the sender's write to the table is not
    /// visible here.
    fn flush(&self, me: usize, pages: Range<usize>) {
        assert_eq!(pages, pages_of(1 - me), "hart {me} flushes other pages");
        // SAFETY: loom fails the test if a write to the table is concurrent.
        self.table[1 - me].with(|table| assert_ne!(unsafe { *table }, 0));
        // SAFETY: loom fails the test if another access to the count is concurrent.
        self.flushed[me].with_mut(|count| unsafe { *count += 1 });
    }

    /// Sends a request. Loom fails the test if the other hart's flush is not visible when
    /// `send` returns.
    fn send(&self, me: usize) {
        // SAFETY: loom fails the test if another access to the table is concurrent.
        let written = self.table[me].with_mut(|table| unsafe {
            *table += 1;
            *table
        });
        let interrupt = |hart: usize| {
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.wakes[hart].notify();
        };
        let flush = |pages| self.flush(me, pages);
        let other = 1 << (1 - me);
        self.mailboxes
            .send(me, other, pages_of(me), interrupt, flush);
        // SAFETY: loom fails the test if a write to the count is concurrent.
        let count = self.flushed[1 - me].with(|count| unsafe { *count });
        assert_eq!(count, written, "each request is acknowledged once");
    }

    /// Records that a hart has sent all its requests. The last hart wakes all others, so
    /// that they end.
    fn finish_work(&self) {
        if self.at_work.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wakes.iter().for_each(Notify::notify);
        }
    }

    /// Takes interrupts until all harts have finished. Without an interrupt it does not look
    /// into its mailbox.
    fn take_interrupts(&self, me: usize) {
        while self.at_work.load(Ordering::Acquire) != 0 {
            self.wakes[me].wait();
            self.mailboxes
                .acknowledge(me, |pages| self.flush(me, pages));
        }
    }
}

fn in_a_thread(machine: &Arc<Machine>, f: impl FnOnce(&Machine) + 'static) -> impl FnOnce() {
    let machine = machine.clone();
    let thread = thread::spawn(move || f(&machine));
    || thread.join().unwrap()
}

#[test]
fn two_harts_that_send_to_each_other_both_finish() {
    static WITHOUT_INTERRUPTS: AtomicBool = AtomicBool::new(false);
    loom::model(|| {
        let machine = Machine::new(HARTS);
        let hart = |me, machine: &Machine| {
            machine.send(me);
            machine.finish_work();
            machine.take_interrupts(me);
        };
        let other = in_a_thread(&machine, move |machine| hart(1, machine));
        hart(0, &machine);
        other();
        if machine.sent.load(Ordering::Relaxed) == 0 {
            WITHOUT_INTERRUPTS.store(true, Relaxed);
        }
    });
    let seen = WITHOUT_INTERRUPTS.load(Relaxed);
    assert!(seen, "two waiting senders never do without interrupts");
}

/// Code that waits for something else acknowledges on a hart while its interrupt handler
/// does. The sender sends twice.
#[test]
fn a_handler_and_waiting_code_acknowledge_each_request_once() {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let machine = Machine::new(1);
        let handler = in_a_thread(&machine, |machine| machine.take_interrupts(1));
        let sender = in_a_thread(&machine, |machine| {
            machine.send(0);
            machine.send(0);
            machine.finish_work();
        });
        for _ in 0..2 {
            if machine.mailboxes.has_requests(1) {
                let flush = |pages| machine.flush(1, pages);
                machine.mailboxes.acknowledge(1, flush);
            }
        }
        handler();
        sender();
    });
}
