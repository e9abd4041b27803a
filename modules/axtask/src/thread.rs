//! The record of a thread, and the lists that link threads.
//!
//! A thread has a [`WaitQueue`] for the threads that join it, and a `WaitQueue` links
//! threads. The two types are therefore defined together. What they do is in the files
//! above this one: `wake` and `wait`.

use alloc::borrow::Cow;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axconfig::STACK_GUARD;
use axhal::context::Context;
use intrusive_collections::{LinkedList, LinkedListAtomicLink, UnsafeRef, intrusive_adapter};

use crate::interrupts::Lock;
use crate::shared::Shared;
use crate::stack::Stack;

intrusive_adapter!(
    pub(crate) ReadyLink = UnsafeRef<Thread>: Thread { ready_link => LinkedListAtomicLink }
);
intrusive_adapter!(
    pub(crate) WaitLink = UnsafeRef<Thread>: Thread { wait_link => LinkedListAtomicLink }
);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A thread.
pub struct Thread {
    id: u64,
    name: Cow<'static, str>,
    hart: usize,
    /// The registers of the thread while it does not run. Only the thread's hart uses them,
    /// with interrupts off.
    pub(crate) context: UnsafeCell<Context>,
    /// The lowest address of the stack.
    stack_bottom: usize,
    has_own_stack: bool,
    /// The stack, until the thread is reaped. A hart's first thread has `None` because it
    /// runs on the hart's stack.
    pub(crate) stack: Lock<Option<Stack>>,
    /// Whether the hart must [flush](axhal::tlb::flush_fresh) the stack's addresses before
    /// the thread runs for the first time.
    is_stack_fresh: AtomicBool,
    /// The address of the user address space that the thread has entered, set while the
    /// thread does not run. 0 if there is none.
    pub(crate) space: AtomicUsize,
    wait_state: Lock<WaitState>,
    /// Whether the next `park` returns at once.
    pub(crate) permit: AtomicBool,
    has_ended: AtomicBool,
    /// The threads that join this one.
    pub(crate) joiners: WaitQueue,
    /// Linked while the thread is in a run queue.
    pub(crate) ready_link: LinkedListAtomicLink,
    /// Linked while the thread is in a wait queue.
    pub(crate) wait_link: LinkedListAtomicLink,
}

// SAFETY: `context` is used only by the thread's hart, with interrupts off. All other
// fields are atomics, locks, or never change. The links belong to the list that holds the
// thread, and are changed under that list's lock.
unsafe impl Sync for Thread {}
// SAFETY: no field depends on the hart or thread that drops it. Only the thread's own hart
// uses `context`, and a thread that is being dropped runs no more.
unsafe impl Send for Thread {}

/// Whether a thread waits.
enum WaitState {
    /// The thread runs or is ready.
    Awake,
    /// The thread runs or is ready, and its next wait ends at once.
    WakePending,
    /// The thread waits. This reference to itself passes to the caller that wakes it.
    Waiting(Shared<Thread>),
}

/// Threads that wait, served in the order in which they came.
///
/// A wait is lost if its notification falls between the check of the condition and the
/// wait. A counter of notifications prevents that. A thread reads the counter and then
/// checks its condition, with interrupts on and no lock held. It enters the list only if
/// the counter is unchanged. A thread that makes the condition true and then notifies
/// therefore either finds the waiting thread in the list, or makes it check again.
///
/// A notification takes threads out of the list. A thread whose deadline has passed takes
/// itself out, so it never uses up a notification that is meant for another thread.
#[derive(Debug)]
pub struct WaitQueue {
    /// The waiting threads. The list owns one reference to each.
    pub(crate) list: Lock<LinkedList<WaitLink>>,
    /// The number of notifications so far. Changed only under the list's lock.
    pub(crate) notified: AtomicUsize,
}

// SAFETY: the list is used only under its lock, and its threads are `Sync`.
unsafe impl Sync for WaitQueue {}
// SAFETY: the list's references to threads may be dropped anywhere, since `Thread` is
// `Send` and `Sync`.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    /// Makes an empty queue.
    pub const fn new() -> Self {
        Self {
            list: Lock::new(LinkedList::new(WaitLink::NEW)),
            notified: AtomicUsize::new(0),
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Thread {
    /// Makes a thread of `hart` that continues with `context` on the stack whose lowest
    /// address is `stack_bottom`. `stack` is `None` if that is the hart's own stack.
    pub(crate) fn new(
        name: Cow<'static, str>,
        hart: usize,
        context: Context,
        stack_bottom: usize,
        mut stack: Option<Stack>,
    ) -> Self {
        let is_stack_fresh = stack.as_mut().is_some_and(|stack| stack.give_to(hart));
        Self {
            is_stack_fresh: AtomicBool::new(is_stack_fresh),
            // Relaxed: an atomic increment makes the numbers distinct, which is all that
            // is asked of them.
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name,
            hart,
            context: UnsafeCell::new(context),
            stack_bottom,
            has_own_stack: stack.is_some(),
            stack: Lock::new(stack),
            space: AtomicUsize::new(0),
            wait_state: Lock::new(WaitState::Awake),
            permit: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            joiners: WaitQueue::new(),
            ready_link: LinkedListAtomicLink::new(),
            wait_link: LinkedListAtomicLink::new(),
        }
    }

    /// Returns the thread's number, which is unique and never 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the name that the thread was given, which may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of the hart that the thread runs on.
    pub fn hart(&self) -> usize {
        self.hart
    }

    /// Returns the lowest address of the stack.
    pub fn stack_bottom(&self) -> usize {
        self.stack_bottom
    }

    /// Returns the end of the thread's own stack, or 0 if it runs on the hart's stack.
    pub(crate) fn stack_top(&self) -> usize {
        self.stack.lock().as_ref().map_or(0, Stack::top)
    }

    /// Flushes the stack's addresses on this hart if the thread is about to run for the
    /// first time. The trap entry uses the stack at once, so a trap on it could not
    /// recover from a stale translation.
    pub(crate) fn flush_fresh_stack(&self) {
        // Relaxed: only the thread's hart uses the flag. The stack was mapped before the
        // thread was put into the run queue, whose lock orders the two.
        if self.is_stack_fresh.load(Ordering::Relaxed) {
            self.is_stack_fresh.store(false, Ordering::Relaxed);
            axhal::tlb::flush_fresh(self.stack_bottom..self.stack_top());
        }
    }

    /// Returns whether the thread has a stack of its own. A hart's first thread runs on the
    /// hart's stack.
    pub(crate) fn has_own_stack(&self) -> bool {
        self.has_own_stack
    }

    /// Returns the addresses below the stack that are certain to stay unmapped.
    pub fn guard(&self) -> Range<usize> {
        self.stack_bottom - STACK_GUARD..self.stack_bottom
    }

    /// Returns whether the thread has ended and has been reaped: its stack is unmapped or in
    /// the stack cache.
    pub fn has_ended(&self) -> bool {
        // Acquire: pairs with the Release in `set_ended`, so that a thread that joins sees
        // everything that this one did.
        self.has_ended.load(Ordering::Acquire)
    }

    /// Records that the thread has been reaped.
    pub(crate) fn set_ended(&self) {
        // Release: pairs with the Acquire in `has_ended`.
        self.has_ended.store(true, Ordering::Release);
    }

    /// Records that this thread, which is running, waits from now on. `own` is a reference
    /// to itself, for the caller that wakes it. Returns false if a wake-up is pending: it
    /// is used up, and the thread must not wait.
    pub(crate) fn begin_wait(&self, own: Shared<Thread>) -> bool {
        let mut state = self.wait_state.lock();
        let waits = !matches!(*state, WaitState::WakePending);
        *state = match waits {
            true => WaitState::Waiting(own),
            false => WaitState::Awake,
        };
        waits
    }

    /// Ends the thread's wait. If it does not wait, its next wait ends at once. Returns the
    /// thread if it did wait: the caller must make it ready.
    pub(crate) fn end_wait(&self) -> Option<Shared<Thread>> {
        let mut state = self.wait_state.lock();
        let after = match *state {
            WaitState::Waiting(_) => WaitState::Awake,
            WaitState::Awake | WaitState::WakePending => WaitState::WakePending,
        };
        match mem::replace(&mut *state, after) {
            WaitState::Waiting(thread) => Some(thread),
            WaitState::Awake | WaitState::WakePending => None,
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, hart, .. } = self;
        write!(f, "thread {id}, {name:?}, of hart {hart}")
    }
}
