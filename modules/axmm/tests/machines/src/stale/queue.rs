//! How often a hart that waits in a queue is overtaken.
//!
//! An operation begins when it has its turn and locks its range. It counts then for each
//! other hart that is in the queue for an overlapping range: as it first publishes entries
//! or flushes, or as it returns, whichever comes first.
//!
//! A hart draws its ticket before its first turn of waiting. It has at most one operation
//! at a time, and those that ask later wait. So it overtakes another hart at most once,
//! with the operation that it had asked for before. Spans are compared as they are asked
//! for. What is locked around them for a large page only makes harts wait more.
//!
//! Counts are compared only while a hart waits or has its range locked: in the hooks of
//! its own [`Machine`](axmm::Machine). After the last of them its range may be free.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::HARTS;

/// How often each other hart may overtake one that waits.
const MOST: usize = 1;

/// What a hart has asked for, and not finished.
struct Request {
    space: usize,
    pages: Range<usize>,
    kind: Kind,
    has_begun: bool,
    wait: Wait,
    /// Operations of each hart that began during the wait.
    overtaken: [usize; HARTS],
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An operation on a range.
    Change,
    /// A page fault. It overtakes no operation: it delays none.
    Fault,
}

/// How a hart waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    /// For the index lock or in the queue: the next call tells.
    FirstTurn,
    /// In the queue.
    Queued,
}

/// What all harts have asked for.
#[derive(Default)]
pub struct Queue {
    requests: [RefCell<Option<Request>>; HARTS],
    /// [`PreemptGuard`](axmm::Machine::PreemptGuard)s of each hart.
    stays: [Cell<usize>; HARTS],
    /// How often a hart has waited in the queue.
    waits: Cell<usize>,
}

impl Request {
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

impl Queue {
    /// How often a hart has waited in the queue.
    pub fn waits(&self) -> usize {
        self.waits.get()
    }

    /// `hart` asks for these pages of an address space.
    pub fn ask(&self, hart: usize, space: usize, pages: Range<usize>, kind: Kind) {
        self.requests[hart].replace(Some(Request {
            space,
            pages,
            kind,
            has_begun: false,
            wait: Wait::No,
            overtaken: [0; HARTS],
        }));
    }

    /// What `hart` has asked for has returned.
    pub fn finish(&self, hart: usize) {
        self.count(hart);
        self.requests[hart].take();
    }

    /// `hart` has its range locked.
    ///
    /// # Errors
    ///
    /// It has been overtaken too often.
    pub fn begin(&self, hart: usize) -> Result<(), String> {
        self.check(hart)?;
        self.count(hart);
        self.stop_waiting(hart);
        Ok(())
    }

    /// The `turn`th turn of `hart`'s waiting. In the queue it waits turn after turn as its
    /// caller is. For the index lock it [pins](Self::pin) after each.
    ///
    /// # Errors
    ///
    /// It has been overtaken too often.
    pub fn relax(&self, hart: usize, turn: usize) -> Result<(), String> {
        if let Some(request) = self.requests[hart].borrow_mut().as_mut() {
            match (request.wait, turn) {
                (Wait::No, 0) if !request.has_begun => request.wait = Wait::FirstTurn,
                (Wait::FirstTurn, 1) => {
                    request.wait = Wait::Queued;
                    self.waits.set(self.waits.get() + 1);
                }
                _ => {}
            }
        }
        self.check(hart)
    }

    /// `hart` keeps interrupts out.
    ///
    /// # Errors
    ///
    /// It has been overtaken too often.
    pub fn pin(&self, hart: usize) -> Result<(), String> {
        let request = self.requests[hart].borrow();
        let is_queued = request.as_ref().is_some_and(|own| own.wait == Wait::Queued);
        drop(request);
        if !is_queued {
            self.stop_waiting(hart);
        }
        self.check(hart)
    }

    /// `hart` keeps other threads out, one time more.
    pub fn stay(&self, hart: usize) {
        self.stays[hart].update(|stays| stays + 1);
    }

    /// `hart` lets other threads in, one time. It is in no queue after the last.
    pub fn leave(&self, hart: usize) {
        self.stays[hart].update(|stays| stays - 1);
        if self.stays[hart].get() == 0 {
            self.stop_waiting(hart);
        }
    }

    fn stop_waiting(&self, hart: usize) {
        if let Some(request) = self.requests[hart].borrow_mut().as_mut() {
            request.stop_waiting();
        }
    }

    /// Counts the operation of `hart` that has begun, once.
    fn count(&self, hart: usize) {
        let mut own = self.requests[hart].borrow_mut();
        let Some(own) = own.as_mut() else { return };
        if std::mem::replace(&mut own.has_begun, true) || own.kind == Kind::Fault {
            return;
        }
        for other in (0..HARTS).filter(|other| *other != hart) {
            if let Some(request) = self.requests[other].borrow_mut().as_mut()
                && request.is_overtaken_by(own)
            {
                request.overtaken[hart] += 1;
            }
        }
    }

    fn check(&self, hart: usize) -> Result<(), String> {
        let request = self.requests[hart].borrow();
        let Some(request) = request.as_ref().filter(|own| own.wait == Wait::Queued) else {
            return Ok(());
        };
        match request.overtaken.iter().any(|times| *times > MOST) {
            true => Err(format!(
                "hart {hart} waits for {:x?}, and others overtake it {:?} times",
                request.pages, request.overtaken
            )),
            false => Ok(()),
        }
    }
}
