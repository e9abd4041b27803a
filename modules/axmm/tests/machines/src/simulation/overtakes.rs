//! Counts how often operations of other harts overtake one that waits in a queue.
//!
//! An operation starts when its turn has come and its range is locked. The simulation
//! notices that at the first call of the [`Machine`](axmm::Machine) that publishes entries or
//! flushes, or when the operation returns, whichever is first. If another hart is then in a
//! queue for an overlapping range, the operation has overtaken it.
//!
//! One overtake by each other hart is allowed ([`MOST`]). A hart draws its ticket before
//! [`relax`](Overtakes::relax) is called for the first time. Another hart may then have one
//! operation under way whose turn came earlier and that is counted later. Its next operation
//! gets a higher ticket, so it must wait.
//!
//! Ranges are compared as the operations were called. The kernel may lock a wider range,
//! which contains whole large pages. That only makes harts wait more often.
//!
//! Counts are checked only while a hart waits or has its range locked, which is the case
//! when its operation calls the machine. After the last call the range may be unlocked.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::HARTS;

/// How many operations of each other hart may overtake one that waits.
const MOST: usize = 1;

/// An operation or page fault that a hart has begun and not ended.
struct Operation {
    space: usize,
    pages: Range<usize>,
    kind: Kind,
    /// Whether its turn has come.
    has_started: bool,
    wait: Wait,
    /// The operations of each hart that started during the wait.
    overtaken: [usize; HARTS],
}

/// What a hart does to a range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes mappings.
    Change,
    /// It handles a page fault. A fault does not delay operations, so it overtakes no operation.
    Fault,
}

/// How a hart waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// It does not wait.
    No,
    /// It has waited for one turn. The next call tells whether for the index lock or in the
    /// queue.
    FirstTurn,
    /// It waits in the queue.
    Queued,
}

/// The operations of all harts.
#[derive(Default)]
pub struct Overtakes {
    operations: [RefCell<Option<Operation>>; HARTS],
    /// The number of guards that keep other threads from running, for each hart.
    preempt_guards: [Cell<usize>; HARTS],
    /// The number of times that a hart has waited in the queue.
    waits: Cell<usize>,
}

impl Operation {
    fn is_overtaken_by(&self, other: &Self) -> bool {
        self.wait != Wait::No
            && self.space == other.space
            && self.pages.start < other.pages.end
            && other.pages.start < self.pages.end
    }

    fn stop_waiting(&mut self) {
        self.wait = Wait::No;
        self.overtaken = [0; HARTS];
    }
}

impl Overtakes {
    /// Returns how many times a hart has waited in the queue.
    pub fn waits(&self) -> usize {
        self.waits.get()
    }

    /// Notes that `hart` calls an operation on `pages` of an address space.
    pub fn begin(&self, hart: usize, space: usize, pages: Range<usize>, kind: Kind) {
        self.operations[hart].replace(Some(Operation {
            space,
            pages,
            kind,
            has_started: false,
            wait: Wait::No,
            overtaken: [0; HARTS],
        }));
    }

    /// Notes that the operation of `hart` has returned.
    pub fn end(&self, hart: usize) {
        self.count(hart);
        self.operations[hart].take();
    }

    /// Notes that the operation of `hart` has its range locked.
    ///
    /// # Errors
    ///
    /// Fails if the operation was overtaken too often.
    pub fn start(&self, hart: usize) -> Result<(), String> {
        self.check(hart)?;
        self.count(hart);
        self.stop_waiting(hart);
        Ok(())
    }

    /// Notes that `hart` waits; `turn` counts the steps of this wait from 0. A hart in the queue waits turn
    /// after turn with interrupts as its caller has them. A hart that waits for the index
    /// lock [disables them](Self::disable_irqs) after each turn.
    ///
    /// # Errors
    ///
    /// Fails if the operation was overtaken too often.
    pub fn relax(&self, hart: usize, turn: usize) -> Result<(), String> {
        if let Some(operation) = self.operations[hart].borrow_mut().as_mut() {
            match (operation.wait, turn) {
                (Wait::No, 0) if !operation.has_started => operation.wait = Wait::FirstTurn,
                (Wait::FirstTurn, 1) => {
                    operation.wait = Wait::Queued;
                    self.waits.set(self.waits.get() + 1);
                }
                _ => {}
            }
        }
        self.check(hart)
    }

    /// Notes that `hart` disables interrupts.
    ///
    /// # Errors
    ///
    /// Fails if the operation was overtaken too often.
    pub fn disable_irqs(&self, hart: usize) -> Result<(), String> {
        let operation = self.operations[hart].borrow();
        let is_queued = operation
            .as_ref()
            .is_some_and(|operation| operation.wait == Wait::Queued);
        drop(operation);
        if !is_queued {
            self.stop_waiting(hart);
        }
        self.check(hart)
    }

    /// Notes a guard of `hart` that keeps other threads from running.
    pub fn disable_preemption(&self, hart: usize) {
        self.preempt_guards[hart].update(|guards| guards + 1);
    }

    /// Notes that such a guard is dropped. Without any, a hart is in no queue.
    pub fn enable_preemption(&self, hart: usize) {
        self.preempt_guards[hart].update(|guards| guards - 1);
        if self.preempt_guards[hart].get() == 0 {
            self.stop_waiting(hart);
        }
    }

    fn stop_waiting(&self, hart: usize) {
        if let Some(operation) = self.operations[hart].borrow_mut().as_mut() {
            operation.stop_waiting();
        }
    }

    /// Counts the operation of `hart` that has started, unless it is counted already.
    fn count(&self, hart: usize) {
        let mut own = self.operations[hart].borrow_mut();
        let Some(own) = own.as_mut() else { return };
        if std::mem::replace(&mut own.has_started, true) || own.kind == Kind::Fault {
            return;
        }
        for other in (0..HARTS).filter(|other| *other != hart) {
            if let Some(waiting) = self.operations[other].borrow_mut().as_mut()
                && waiting.is_overtaken_by(own)
            {
                waiting.overtaken[hart] += 1;
            }
        }
    }

    fn check(&self, hart: usize) -> Result<(), String> {
        let operation = self.operations[hart].borrow();
        let is_queued = |operation: &&Operation| operation.wait == Wait::Queued;
        let Some(operation) = operation.as_ref().filter(is_queued) else {
            return Ok(());
        };
        match operation.overtaken.iter().any(|times| *times > MOST) {
            true => Err(format!(
                "hart {hart} waits for {:x?}, and each hart has overtaken it {:?} times",
                operation.pages, operation.overtaken
            )),
            false => Ok(()),
        }
    }
}
