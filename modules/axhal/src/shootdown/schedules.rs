//! Three and more harts, in many schedules, one step of one atomic at a time.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use shuttle::sync::Arc;
use shuttle::thread;

use super::*;

const SCHEDULES: usize = 10_000;
const REQUESTS: usize = 2;

/// The harts, what they know, and which of them has an interrupt to take.
struct Machine<const HARTS: usize> {
    requests: Requests<HARTS>,
    /// 1 for each hart that has an interrupt to take.
    pending: [AtomicUsize; HARTS],
    /// How many interrupts each hart has sent.
    sent: [AtomicUsize; HARTS],
    /// How many harts have yet to ask, or wait for answers.
    at_work: AtomicUsize,
    /// How often each hart has forgotten what each has asked.
    forgotten: [[AtomicUsize; HARTS]; HARTS],
}

fn pages_of(hart: usize, request: usize) -> Range<usize> {
    (hart + 1) * 0x1000 + request..(hart + 1) * 0x1000 + 0x100 + request
}

impl<const HARTS: usize> Machine<HARTS> {
    fn new(at_work: usize) -> Self {
        let numbers = || [(); HARTS].map(|()| AtomicUsize::new(0));
        Self {
            requests: Requests::new(),
            pending: numbers(),
            sent: numbers(),
            at_work: AtomicUsize::new(at_work),
            forgotten: [(); HARTS].map(|()| numbers()),
        }
    }

    fn forget(&self, me: usize, pages: Range<usize>) {
        let asker = pages.start / 0x1000 - 1;
        let count = &self.forgotten[me][asker];
        let request = count.load(Ordering::SeqCst);
        assert_eq!(pages, pages_of(asker, request), "something else, or twice");
        count.store(request + 1, Ordering::SeqCst);
    }

    fn asks(&self, me: usize, others: u64) {
        for request in 0..REQUESTS {
            let interrupt = |hart: usize| {
                self.sent[me].fetch_add(1, Ordering::SeqCst);
                self.pending[hart].store(1, Ordering::SeqCst);
            };
            let forget = |pages| self.forget(me, pages);
            self.requests
                .ask(me, others, pages_of(me, request), interrupt, forget);
            for other in bits(others) {
                let count = self.forgotten[other][me].load(Ordering::SeqCst);
                assert_eq!(count, request + 1, "hart {other} for hart {me}");
            }
        }
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes interrupts, and looks at nothing without one.
    fn let_interrupts_in(&self, me: usize) {
        while self.at_work.load(Ordering::SeqCst) != 0 {
            if self.pending[me].swap(0, Ordering::SeqCst) != 0 {
                self.requests.answer(me, |pages| self.forget(me, pages));
            }
            spin_loop();
        }
    }

    /// How many interrupts were sent for how many a request to each hart would be.
    fn interrupts(&self) -> (usize, usize) {
        let sent = self.sent.iter().map(|sent| sent.load(Ordering::SeqCst));
        let answers = self.forgotten.iter().flatten();
        let answers = answers.map(|count| count.load(Ordering::SeqCst));
        (sent.sum(), answers.sum())
    }
}

/// Those of `askers` ask all others at once, and then take interrupts, as all others do.
fn run<const HARTS: usize>(askers: u64) -> (usize, usize) {
    let machine = Arc::new(Machine::<HARTS>::new(askers.count_ones() as usize));
    let harts: Vec<_> = (0..HARTS)
        .map(|me| {
            let machine = machine.clone();
            thread::spawn(move || {
                if askers & 1 << me != 0 {
                    machine.asks(me, ((1 << HARTS) - 1) & !(1 << me));
                }
                machine.let_interrupts_in(me);
            })
        })
        .collect();
    harts.into_iter().for_each(|hart| hart.join().unwrap());
    let (sent, answers) = machine.interrupts();
    assert!(sent <= answers, "{sent} interrupts for {answers}");
    (sent, answers)
}

#[test]
fn all_that_ask_one_another_go_on() {
    static WITHOUT_INTERRUPTS: AtomicBool = AtomicBool::new(false);
    let some_need_none = |(sent, _)| {
        if sent == 0 {
            WITHOUT_INTERRUPTS.store(true, Relaxed);
        }
    };
    shuttle::check_random(move || some_need_none(run::<3>(0b111)), SCHEDULES);
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
    assert!(WITHOUT_INTERRUPTS.load(Relaxed), "all look as they wait");
}

/// Two ask, and each other too; a third one does something else and hears interrupts
/// only.
#[test]
fn one_interrupt_is_enough_for_two_requests() {
    static ENOUGH: AtomicBool = AtomicBool::new(false);
    let some_share_one = |(sent, _)| {
        if sent < REQUESTS * 2 {
            ENOUGH.store(true, Relaxed);
        }
    };
    shuttle::check_random(move || some_share_one(run::<3>(0b011)), SCHEDULES);
    shuttle::check_pct(
        || {
            run::<3>(0b011);
        },
        SCHEDULES,
        3,
    );
    assert!(ENOUGH.load(Relaxed));
}

/// A hart that is not up does not answer, and nobody waits for it.
#[test]
fn who_is_not_asked_is_not_waited_for() {
    let two_of_three = || {
        let machine = Arc::new(Machine::<3>::new(2));
        let other = machine.clone();
        let other = thread::spawn(move || {
            other.asks(1, 1 << 0);
            other.let_interrupts_in(1);
        });
        machine.asks(0, 1 << 1);
        machine.let_interrupts_in(0);
        other.join().unwrap();
        assert!(!machine.requests.asks(2));
        assert_eq!(machine.pending[2].load(Ordering::SeqCst), 0);
    };
    shuttle::check_random(two_of_three, SCHEDULES);
}
