//! What each hart has to run, and who sleeps there until when.

use alloc::vec::Vec;
use core::mem;

use axconfig::MAX_HARTS;
use axerrno::{AxError, AxResult};
use axhal::hart::this_hart;
use axhal::irq::timer_ticks;
use intrusive_collections::{LinkedList, LinkedListAtomicLink, UnsafeRef, intrusive_adapter};

use crate::thread::Thread;
use crate::{Lock, Shared};

intrusive_adapter!(Ready = UnsafeRef<Thread>: Thread { ready => LinkedListAtomicLink });

/// A hart's threads. Only the hart itself takes out who is ready.
pub struct Queue {
    /// In the order in which they became ready. The list owns them.
    ready: LinkedList<Ready>,
    /// Who sleeps, and until when: the first to wake is the last. There is room for all
    /// threads of the hart.
    sleepers: Vec<(u64, Shared<Thread>)>,
    /// How many threads the hart has, all in all.
    threads: usize,
    /// When the running thread has had its time.
    pub slice_end: u64,
    /// When the timer rings, as far as it has been set from here, and how often it had rung
    /// then: others set it, too.
    armed: Option<(u64, u64)>,
    /// Who runs when nobody is ready.
    pub idle: Option<Shared<Thread>>,
    /// Who has ended, and was the last to run.
    pub dead: Option<Shared<Thread>>,
}

/// Each hart's.
static QUEUES: [Lock<Queue>; MAX_HARTS] = [const { Lock::new(Queue::new()) }; MAX_HARTS];

/// That of hart `number`.
pub fn queue_of(number: usize) -> &'static Lock<Queue> {
    &QUEUES[number]
}

/// That of the calling thread's hart.
pub fn this_queue() -> &'static Lock<Queue> {
    queue_of(this_hart())
}

impl Queue {
    const fn new() -> Self {
        Self {
            ready: LinkedList::new(Ready::NEW),
            sleepers: Vec::new(),
            threads: 0,
            slice_end: 0,
            armed: None,
            idle: None,
            dead: None,
        }
    }

    /// How many threads the hart has.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Makes room for one more thread of this hart.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn admit(&mut self) -> AxResult {
        let missing = self.threads + 1 - self.sleepers.len();
        let room = self.sleepers.try_reserve(missing);
        room.map_err(|_| AxError::NoMemory)?;
        self.threads += 1;
        Ok(())
    }

    /// A thread of this hart has ended, or was never born.
    pub fn dismiss(&mut self) {
        self.threads -= 1;
    }

    /// Whether anyone is ready.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Lets a thread be next after all that are ready. Answers whether none was.
    pub fn push(&mut self, thread: Shared<Thread>) -> bool {
        let was_empty = self.ready.is_empty();
        // SAFETY: the list owns the thread until `pop`.
        let thread = unsafe { UnsafeRef::from_raw(thread.into_raw()) };
        self.ready.push_back(thread);
        was_empty
    }

    /// Whose turn it is.
    pub fn pop(&mut self) -> Option<Shared<Thread>> {
        let thread = UnsafeRef::into_raw(self.ready.pop_front()?);
        // SAFETY: `push` has given it away, once for each time it comes out.
        Some(unsafe { Shared::from_raw(thread) })
    }

    /// Lets `thread`, which this hart runs and has [admitted](Self::admit), be woken at
    /// `deadline`.
    pub fn add_sleeper(&mut self, deadline: u64, thread: Shared<Thread>) {
        let place = self.sleepers.partition_point(|(end, _)| *end >= deadline);
        self.sleepers.insert(place, (deadline, thread));
        self.arm();
    }

    /// Forgets when `thread` was to be woken.
    pub fn remove_sleeper(&mut self, thread: &Shared<Thread>) {
        self.sleepers.retain(|(_, sleeper)| !sleeper.ptr_eq(thread));
    }

    /// A sleeper whose time has come by `now`.
    pub fn pop_due(&mut self, now: u64) -> Option<Shared<Thread>> {
        let (end, _) = self.sleepers.last()?;
        match *end <= now {
            true => self.sleepers.pop().map(|(_, thread)| thread),
            false => None,
        }
    }

    /// Sets this hart's timer for what is due next, if it rings no earlier already.
    pub fn arm(&mut self) {
        let ticks = timer_ticks();
        let sleeper = self.sleepers.last().map(|(end, _)| *end);
        let slice = self.has_ready().then_some(self.slice_end);
        let Some(next) = sleeper.into_iter().chain(slice).min() else {
            return;
        };
        let rings = self
            .armed
            .filter(|(at, before)| *at <= next && *before == ticks);
        if rings.is_none() {
            axhal::time::set_oneshot_timer(next);
            self.armed = Some((next, ticks));
        }
    }

    /// Takes the dead thread that ran last.
    pub fn take_dead(&mut self) -> Option<Shared<Thread>> {
        mem::take(&mut self.dead)
    }
}
