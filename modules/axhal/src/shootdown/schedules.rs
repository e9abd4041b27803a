//! Tests of three and four harts in many random schedules, which interleave single atomic
//! operations.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use shuttle::sync::Arc;
use shuttle::thread;

use super::*;

const SCHEDULES: usize = 10_000;
const REQUESTS: usize = 2;

/// Harts, their mailboxes, and the interrupts that they have yet to take.
struct Machine<const HARTS: usize> {
    mailboxes: Mailboxes<HARTS>,
    /// 1 for each hart that has an interrupt to take.
    interrupted: [AtomicUsize; HARTS],
    /// The number of interrupts that each hart has sent.
    sent: [AtomicUsize; HARTS],
    /// The number of harts that have yet to send a request or wait for it.
    at_work: AtomicUsize,
    /// How often each hart (first index) has flushed for each other hart (second index).
    flushed: [[AtomicUsize; HARTS]; HARTS],
}

fn pages_of(hart: usize, request: usize) -> Range<usize> {
    (hart + 1) * 0x1000 + request..(hart + 1) * 0x1000 + 0x100 + request
}

impl<const HARTS: usize> Machine<HARTS> {
    fn new(at_work: usize) -> Self {
        let zeros = || [(); HARTS].map(|()| AtomicUsize::new(0));
        Self {
            mailboxes: Mailboxes::new(),
            interrupted: zeros(),
            sent: zeros(),
            at_work: AtomicUsize::new(at_work),
            flushed: [(); HARTS].map(|()| zeros()),
        }
    }

    fn flush(&self, me: usize, pages: Range<usize>) {
        let sender = pages.start / 0x1000 - 1;
        let count = &self.flushed[me][sender];
        let request = count.load(Ordering::SeqCst);
        assert_eq!(
            pages,
            pages_of(sender, request),
            "other pages, or a second flush"
        );
        count.store(request + 1, Ordering::SeqCst);
    }

    /// Sends `REQUESTS` requests to the harts of the set `others`.
    fn send_all(&self, me: usize, others: u64) {
        for request in 0..REQUESTS {
            let interrupt = |hart: usize| {
                self.sent[me].fetch_add(1, Ordering::SeqCst);
                self.interrupted[hart].store(1, Ordering::SeqCst);
            };
            let flush = |pages| self.flush(me, pages);
            self.mailboxes
                .send(me, others, pages_of(me, request), interrupt, flush);
            for other in bits(others) {
                let count = self.flushed[other][me].load(Ordering::SeqCst);
                assert_eq!(count, request + 1, "hart {other} for hart {me}");
            }
        }
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes interrupts until all harts have finished. Without an interrupt it does not look
    /// into its mailbox.
    fn take_interrupts(&self, me: usize) {
        while self.at_work.load(Ordering::SeqCst) != 0 {
            if self.interrupted[me].swap(0, Ordering::SeqCst) != 0 {
                self.mailboxes
                    .acknowledge(me, |pages| self.flush(me, pages));
            }
            spin_loop();
        }
    }

    /// Returns how many interrupts and how many acknowledgements there were.
    fn totals(&self) -> (usize, usize) {
        let sent = self.sent.iter().map(|sent| sent.load(Ordering::SeqCst));
        let flushes = self.flushed.iter().flatten();
        let flushes = flushes.map(|count| count.load(Ordering::SeqCst));
        (sent.sum(), flushes.sum())
    }
}

/// Lets the harts of the set `senders` all send to all other harts, and then take
/// interrupts. The other harts take interrupts from the beginning. Returns how many
/// interrupts and how many acknowledgements there were.
fn run<const HARTS: usize>(senders: u64) -> (usize, usize) {
    let machine = Arc::new(Machine::<HARTS>::new(senders.count_ones() as usize));
    let harts: Vec<_> = (0..HARTS)
        .map(|me| {
            let machine = machine.clone();
            thread::spawn(move || {
                if senders & 1 << me != 0 {
                    machine.send_all(me, ((1 << HARTS) - 1) & !(1 << me));
                }
                machine.take_interrupts(me);
            })
        })
        .collect();
    harts.into_iter().for_each(|hart| hart.join().unwrap());
    let (interrupts, acknowledgements) = machine.totals();
    assert!(
        interrupts <= acknowledgements,
        "{interrupts} interrupts for {acknowledgements} acknowledgements"
    );
    (interrupts, acknowledgements)
}

#[test]
fn harts_that_all_send_to_each_other_all_finish() {
    static WITHOUT_INTERRUPTS: AtomicBool = AtomicBool::new(false);
    let note_no_interrupts = |(interrupts, _)| {
        if interrupts == 0 {
            WITHOUT_INTERRUPTS.store(true, Relaxed);
        }
    };
    shuttle::check_random(move || note_no_interrupts(run::<3>(0b111)), SCHEDULES);
    shuttle::check_random(
        || {
            run::<4>(0b1111);
        },
        SCHEDULES / 4,
    );
    shuttle::check_pct(
        || {
            run::<3>(0b111);
        },
        SCHEDULES,
        3,
    );
    let seen = WITHOUT_INTERRUPTS.load(Relaxed);
    assert!(seen, "waiting senders never do without interrupts");
}

/// Two harts send to all others, and the third one only takes interrupts.
#[test]
fn one_interrupt_is_enough_for_two_requests() {
    static ENOUGH: AtomicBool = AtomicBool::new(false);
    let note_shared_interrupts = |(interrupts, _)| {
        if interrupts < REQUESTS * 2 {
            ENOUGH.store(true, Relaxed);
        }
    };
    shuttle::check_random(move || note_shared_interrupts(run::<3>(0b011)), SCHEDULES);
    shuttle::check_pct(
        || {
            run::<3>(0b011);
        },
        SCHEDULES,
        3,
    );
    assert!(ENOUGH.load(Relaxed));
}

/// Two of three harts send to each other. The third is not up: it acknowledges no request.
#[test]
fn a_hart_that_gets_no_request_is_not_waited_for() {
    let two_of_three = || {
        let machine = Arc::new(Machine::<3>::new(2));
        let other = machine.clone();
        let other = thread::spawn(move || {
            other.send_all(1, 1 << 0);
            other.take_interrupts(1);
        });
        machine.send_all(0, 1 << 1);
        machine.take_interrupts(0);
        other.join().unwrap();
        assert!(!machine.mailboxes.has_requests(2));
        assert_eq!(machine.interrupted[2].load(Ordering::SeqCst), 0);
    };
    shuttle::check_random(two_of_three, SCHEDULES);
}
