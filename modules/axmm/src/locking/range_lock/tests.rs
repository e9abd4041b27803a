//! What the range lock says of harts, beside a model of what each one does.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;

use super::*;
use crate::addr::{as_span, va_range};
use crate::by_turns::{FourHarts, HARTS, ON_WAIT, ROUND, at_round};

const BLOCK: usize = 1 << LARGE_PAGE_BITS;
/// Addresses are multiples of this in `BLOCKS` blocks.
const STEP: usize = BLOCK / 4;
const BLOCKS: usize = 4;
const STEPS: usize = 20_000;

/// What one hart does.
struct Hart {
    /// The range that it has locked, or waits for.
    range: VirtAddrRange,
    is_locked: bool,
    ticket: Option<usize>,
}

impl Default for Hart {
    fn default() -> Self {
        Self {
            range: va_range(0, 0),
            is_locked: false,
            ticket: None,
        }
    }
}

impl Hart {
    fn is_busy(&self) -> bool {
        self.is_locked || self.ticket.is_some()
    }

    fn overlaps(&self, range: VirtAddrRange) -> bool {
        as_span(range)
            .step_by(STEP)
            .any(|addr| self.range.contains(addr.into()))
    }
}

/// Fault slots in use, each with the block.
type Slots = Rc<RefCell<[Option<(usize, FaultGuard<'static>)>; HARTS]>>;

/// The lock, and what harts have done with it.
struct Model {
    lock: &'static RangeLock<FourHarts>,
    harts: [Hart; HARTS],
    slots: Slots,
    tickets: usize,
    rng: Rng,
}

impl Model {
    fn new() -> Self {
        let states = HartState::of_others::<FourHarts>().unwrap();
        Self {
            lock: Box::leak(Box::new(RangeLock::new(states))),
            harts: Default::default(),
            slots: Slots::default(),
            tickets: 0,
            rng: Rng::with_seed(0),
        }
    }

    fn some_addr(&mut self) -> usize {
        STEP * self.rng.usize(..BLOCKS * BLOCK / STEP)
    }

    fn some_range(&mut self) -> VirtAddrRange {
        let (one, other) = (self.some_addr(), self.some_addr());
        va_range(one.min(other), one.max(other) + STEP)
    }

    fn others(&self, hart: usize) -> impl Iterator<Item = &Hart> {
        let harts = self.harts.iter().enumerate();
        harts.filter_map(move |(other, state)| (other != hart).then_some(state))
    }

    fn is_turn(&self, hart: usize, range: VirtAddrRange) -> bool {
        let own = self.harts[hart].ticket.unwrap_or(usize::MAX);
        let ahead = |other: &Hart| other.is_locked || other.ticket.is_some_and(|it| it < own);
        let mut others = self.others(hart);
        !others.any(|other| ahead(other) && other.overlaps(range))
    }

    /// Every question, for each hart.
    fn check(&mut self) {
        let (addr, range) = (self.some_addr(), self.some_range());
        let lock = self.lock;
        let block = addr / BLOCK * BLOCK;
        let block = va_range(block, block + BLOCK);
        let is_locked = |range| {
            let has_locked = |hart: &Hart| hart.is_locked && hart.overlaps(range);
            self.harts.iter().any(has_locked)
        };
        assert_eq!(
            lock.is_locked(addr.into()),
            is_locked(one_address(addr.into()))
        );
        assert_eq!(lock.is_block_locked(addr.into()), is_locked(block));
        assert_eq!(lock.is_idle(), !self.harts.iter().any(Hart::is_busy));
        for hart in 0..HARTS {
            let mut busy = self.others(hart).filter(|other| other.is_busy());
            let is_uncontended = !busy.any(|other| other.overlaps(range));
            let is_faulting = self.slots.borrow()[hart].is_some();
            assert_eq!(lock.is_busy(hart), self.harts[hart].is_busy());
            assert_eq!(lock.is_uncontended(hart, range), is_uncontended);
            assert_eq!(lock.is_turn(hart, range), self.is_turn(hart, range));
            assert_eq!(lock.is_faulting(hart), is_faulting);
        }
    }

    fn step(&mut self) {
        let hart = self.rng.usize(..HARTS);
        match self.rng.usize(..8) {
            0 | 1 => self.enqueue(hart),
            2 => self.dequeue(hart),
            3 | 4 => self.lock(hart),
            5 => {
                self.lock.unlock(hart);
                self.harts[hart].is_locked = false;
            }
            6 => self.fault(hart),
            _ => drop(self.slots.borrow_mut()[hart].take()),
        }
    }

    fn enqueue(&mut self, hart: usize) {
        if !self.harts[hart].is_locked {
            let range = self.some_range();
            self.lock.enqueue(hart, range);
            self.harts[hart].range = range;
            self.harts[hart].ticket.get_or_insert(self.tickets);
            self.tickets += 1;
        }
    }

    fn dequeue(&mut self, hart: usize) {
        self.lock.dequeue(hart);
        self.harts[hart].ticket = None;
    }

    /// Locks a range, if it is the hart's turn. Faults in its blocks end as it waits.
    fn lock(&mut self, hart: usize) {
        let range = self.some_range();
        if !self.is_turn(hart, range) {
            return;
        }
        let blocks = range.start.as_usize() / BLOCK..=(range.end.as_usize() - 1) / BLOCK;
        let slots = self.slots.clone();
        let is_inside = move |block: usize| blocks.contains(&block);
        let is_waited_for = slots
            .borrow()
            .iter()
            .flatten()
            .any(|(block, _)| is_inside(*block));
        ON_WAIT.set(Some(Box::new(move || {
            for slot in slots.borrow_mut().iter_mut() {
                drop(slot.take_if(|(block, _)| is_inside(*block)));
            }
        })));
        self.lock.lock(hart, range);
        let has_waited = ON_WAIT.take().is_none();
        assert_eq!(has_waited, is_waited_for, "{range:x?}");
        self.harts[hart].range = range;
        self.harts[hart].is_locked = true;
    }

    fn fault(&mut self, hart: usize) {
        let addr = self.some_addr();
        let mut slots = self.slots.borrow_mut();
        let slot = self.lock.take_slot(hart, addr.into());
        assert_eq!(slot.is_some(), slots[hart].is_none(), "one fault at a time");
        if let Some(slot) = slot {
            slots[hart] = Some((addr / BLOCK, slot));
        }
    }
}

#[test]
fn a_hart_finds_what_the_others_have_locked_and_wait_for() {
    let mut model = Model::new();
    for _ in 0..STEPS {
        model.step();
        model.check();
    }
}

/// The fault is of the code that locks the range: an interrupt handler's.
#[test]
fn the_only_hart_waits_for_no_fault() {
    let lock = RangeLock::<FourHarts>::new(Box::default());
    assert!(lock.is_one_hart());
    let slot = lock.take_slot(0, 0.into());
    lock.lock(0, va_range(0, BLOCK));
    assert!(ON_WAIT.take().is_none());
    drop(slot);
}

#[test]
fn a_hart_waits_for_all_63_others() {
    let states = (1..64).map(|_| HartState::idle());
    let lock = RangeLock::<FourHarts>::new(boxed_slice(states).unwrap());
    let range = va_range(0, BLOCK);
    for hart in 1..64 {
        assert_eq!(lock.is_turn(hart, range), hart == 1);
        lock.enqueue(hart, range);
    }
    for hart in 1..64 {
        assert!(!lock.is_turn(0, range));
        assert!(lock.is_turn(hart, range));
        lock.dequeue(hart);
    }
    assert!(lock.is_turn(0, range));
}

#[test]
fn turns_of_waiting_for_a_fault_are_counted() {
    let lock = Model::new().lock;
    let slot = lock.take_slot(1, 0.into());
    at_round(3, || {
        assert_eq!(ROUND.get(), 3);
        drop(slot);
    });
    lock.lock(0, va_range(0, BLOCK));
    assert!(ON_WAIT.take().is_none(), "it has waited");
}

/// Otherwise faults beside the range could keep the operation waiting for ever, each of them
/// begun before the one before has ended.
#[test]
fn a_fault_beside_the_range_gives_way_while_the_operation_waits_for_another() {
    let lock = Model::new().lock;
    let (inside, beside, outside) = (0, STEP, BLOCK);
    let slot = lock.take_slot(1, beside.into());
    let is_locked = move |addr: usize| lock.is_locked(addr.into());
    at_round(1, move || {
        assert!(is_locked(inside));
        assert!(is_locked(beside));
        assert!(!is_locked(outside));
        drop(slot);
    });
    lock.lock(0, va_range(inside, STEP));
    assert!(ON_WAIT.take().is_none(), "it has waited");
    assert!(is_locked(inside));
    assert!(!is_locked(beside));
}
