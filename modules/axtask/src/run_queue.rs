//! A hart's ready threads, its sleepers and its timer.

use alloc::vec::Vec;

use axconfig::MAX_HARTS;
use axerrno::{AxError, AxResult};
use axhal::hart::this_hart;
use axhal::irq::timer_ticks;
use intrusive_collections::{LinkedList, UnsafeRef};

use crate::interrupts::Lock;
use crate::shared::Shared;
use crate::thread::{ReadyLink, Thread};

/// The threads of one hart. Any hart may add a ready thread. Only the hart itself takes
/// threads out.
pub(crate) struct RunQueue {
    /// The ready threads, in the order in which they became ready. The list owns one
    /// reference to each.
    ready: LinkedList<ReadyLink>,
    /// The deadlines of sleeping threads, the latest first. `attach` reserves room for all
    /// threads of the hart, so that adding a sleeper allocates nothing.
    sleepers: Vec<(u64, Shared<Thread>)>,
    /// The number of threads that are attached to the hart, in any state.
    thread_count: usize,
    /// The monotonic time in nanoseconds when the running thread's slice is over.
    pub(crate) slice_end: u64,
    /// The timer as this queue has set it last.
    armed: Option<ArmedTimer>,
    /// The thread that runs when no thread is ready. `None` if the hart runs no threads.
    pub(crate) idle: Option<Shared<Thread>>,
    /// The thread that ran last, if it has ended and is not reaped yet.
    pub(crate) ended: Option<Shared<Thread>>,
}

/// A setting of the timer. It holds until the timer rings, which changes the count of ticks.
/// When other code sets the timer for an earlier moment, such as `NoPreempt` does, that ends
/// the setting in the same way.
#[derive(Clone, Copy)]
struct ArmedTimer {
    /// The monotonic time in nanoseconds when the timer rings.
    deadline: u64,
    /// How often the timer had rung when it was set.
    ticks: u64,
}

/// The run queues of all harts, by hart number.
static RUN_QUEUES: [Lock<RunQueue>; MAX_HARTS] = [const { Lock::new(RunQueue::new()) }; MAX_HARTS];

/// Returns the run queue of hart `number`.
pub(crate) fn run_queue_of(number: usize) -> &'static Lock<RunQueue> {
    &RUN_QUEUES[number]
}

/// Returns the run queue of the calling thread's hart.
pub(crate) fn this_run_queue() -> &'static Lock<RunQueue> {
    run_queue_of(this_hart())
}

impl RunQueue {
    const fn new() -> Self {
        Self {
            ready: LinkedList::new(ReadyLink::NEW),
            sleepers: Vec::new(),
            thread_count: 0,
            slice_end: 0,
            armed: None,
            idle: None,
            ended: None,
        }
    }

    /// Returns the number of threads that are attached to the hart.
    pub(crate) fn thread_count(&self) -> usize {
        self.thread_count
    }

    /// Attaches one more thread to this hart, and reserves room for it among the sleepers.
    ///
    /// It allocates while this queue's lock keeps interrupts off, so the shrinker does not run.
    /// Callers therefore use [`retry_without_cache`](crate::stack::retry_without_cache).
    ///
    /// # Errors
    ///
    /// `NoMemory` if there is no memory for that.
    pub(crate) fn attach(&mut self) -> AxResult {
        let missing = self.thread_count + 1 - self.sleepers.len();
        let reserved = self.sleepers.try_reserve(missing);
        reserved.map_err(|_| AxError::NoMemory)?;
        self.thread_count += 1;
        Ok(())
    }

    /// Detaches a thread that has ended.
    pub(crate) fn detach(&mut self) {
        self.thread_count -= 1;
    }

    /// Returns whether any thread is ready.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts a thread behind all that are ready. Returns whether it is the only one.
    pub(crate) fn push_ready(&mut self, thread: Shared<Thread>) -> bool {
        let was_empty = self.ready.is_empty();
        // SAFETY: the reference that `into_raw` releases keeps the thread until
        // `pop_ready` takes it back.
        let thread = unsafe { UnsafeRef::from_raw(thread.into_raw()) };
        self.ready.push_back(thread);
        was_empty
    }

    /// Takes out the thread that has been ready longest.
    pub(crate) fn pop_ready(&mut self) -> Option<Shared<Thread>> {
        let thread = UnsafeRef::into_raw(self.ready.pop_front()?);
        // SAFETY: `push_ready` put the pointer into the list, from `into_raw`, and the list
        // yields it once.
        Some(unsafe { Shared::from_raw(thread) })
    }

    /// Adds `thread` to the sleepers, to be woken at the monotonic time `deadline` in
    /// nanoseconds. The thread runs on this hart and is [attached](Self::attach) to it.
    pub(crate) fn add_sleeper(&mut self, deadline: u64, thread: Shared<Thread>) {
        let place = self.sleepers.partition_point(|(end, _)| *end >= deadline);
        self.sleepers.insert(place, (deadline, thread));
        self.arm_timer();
    }

    /// Removes `thread` from the sleepers, if it is still there.
    pub(crate) fn remove_sleeper(&mut self, thread: &Shared<Thread>) {
        self.sleepers.retain(|(_, sleeper)| !sleeper.ptr_eq(thread));
    }

    /// Takes out a sleeper whose deadline is not after `now`.
    pub(crate) fn pop_due_sleeper(&mut self, now: u64) -> Option<Shared<Thread>> {
        let (deadline, _) = self.sleepers.last()?;
        match *deadline <= now {
            true => self.sleepers.pop().map(|(_, thread)| thread),
            false => None,
        }
    }

    /// Sets this hart's timer for the earliest of the sleepers' deadlines and, if a thread
    /// is ready, the end of the running thread's slice. Does nothing if the timer already
    /// rings by then.
    pub(crate) fn arm_timer(&mut self) {
        let ticks = timer_ticks();
        let first_sleeper = self.sleepers.last().map(|(deadline, _)| *deadline);
        let slice_end = self.has_ready().then_some(self.slice_end);
        let Some(deadline) = first_sleeper.into_iter().chain(slice_end).min() else {
            return;
        };
        let rings_in_time = |armed: ArmedTimer| armed.deadline <= deadline && armed.ticks == ticks;
        if !self.armed.is_some_and(rings_in_time) {
            axhal::time::set_oneshot_timer(deadline);
            self.armed = Some(ArmedTimer { deadline, ticks });
        }
    }
}
