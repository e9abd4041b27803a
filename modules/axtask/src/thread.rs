//! A thread: what it is known by, and whether it waits.

use alloc::borrow::Cow;
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axconfig::STACK_GUARD;
use axhal::context::Context;
use axhal::time::monotonic_time_nanos;
use intrusive_collections::LinkedListAtomicLink;

use crate::queue::queue_of;
use crate::schedule::block;
use crate::stack::Stack;
use crate::wait::WaitQueue;
use crate::{Lock, Shared};

/// The thread that this hart runs, which it owns; 0 before its first.
#[percpu::def_percpu]
static CURRENT: usize = 0;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A thread.
pub struct Thread {
    id: u64,
    name: Cow<'static, str>,
    hart: usize,
    /// What it has left while it does not run. For its hart alone, with interrupts out.
    pub(crate) context: UnsafeCell<Context>,
    /// The lowest address of its stack.
    bottom: usize,
    own_stack: bool,
    /// Its stack as long as it lives, but for a hart's first thread, whose is the hart's.
    pub(crate) stack: Lock<Option<Stack>>,
    /// Whether its hart must [flush](axhal::tlb::flush_fresh) its stack before it runs.
    is_stack_fresh: AtomicBool,
    /// The user address space that it has entered, while it does not run; 0 for none.
    pub(crate) space: AtomicUsize,
    wake: Lock<Wake>,
    /// Whether the next `park` returns at once.
    permit: AtomicBool,
    ended: AtomicBool,
    /// Who waits for its end.
    pub(crate) end: WaitQueue,
    pub(crate) ready: LinkedListAtomicLink,
    pub(crate) waiting: LinkedListAtomicLink,
}

// SAFETY: `context` is used by the thread's hart alone, with interrupts out; all else is
// made to be shared.
unsafe impl Sync for Thread {}
// SAFETY: as above.
unsafe impl Send for Thread {}

/// Whether a thread waits. Who waits is nobody's but its own: whoever wakes it gets it.
enum Wake {
    /// It runs, or is ready.
    Awake,
    /// It does, and its next wait ends at once.
    Early,
    /// It waits.
    Waits(Shared<Thread>),
}

impl Thread {
    pub(crate) fn new(
        name: Cow<'static, str>,
        hart: usize,
        context: Context,
        bottom: usize,
        mut stack: Option<Stack>,
    ) -> Self {
        let is_stack_fresh = stack.as_mut().is_some_and(|stack| stack.give_to(hart));
        Self {
            is_stack_fresh: AtomicBool::new(is_stack_fresh),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name,
            hart,
            context: UnsafeCell::new(context),
            bottom,
            own_stack: stack.is_some(),
            stack: Lock::new(stack),
            space: AtomicUsize::new(0),
            wake: Lock::new(Wake::Awake),
            permit: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            end: WaitQueue::new(),
            ready: LinkedListAtomicLink::new(),
            waiting: LinkedListAtomicLink::new(),
        }
    }

    /// Its number: never 0, and no other thread's.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name it was given; may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hart that it runs on.
    pub fn hart(&self) -> usize {
        self.hart
    }

    /// The lowest address of its stack.
    pub fn stack_bottom(&self) -> usize {
        self.bottom
    }

    /// The end of its own stack; 0 if that is its hart's.
    pub(crate) fn stack_top(&self) -> usize {
        self.stack.lock().as_ref().map_or(0, Stack::top)
    }

    /// Makes this hart, which is about to run the thread, able to take a trap on its stack:
    /// the trap entry uses the stack before it can take another.
    pub(crate) fn flush_fresh_stack(&self) {
        // Relaxed: only the thread's hart calls this, and the queue that it has the thread
        // from orders it behind the mapping of the stack.
        if self.is_stack_fresh.load(Ordering::Relaxed) {
            self.is_stack_fresh.store(false, Ordering::Relaxed);
            axhal::tlb::flush_fresh(self.bottom..self.stack_top());
        }
    }

    /// Whether its stack is not its hart's, as that of a hart's first thread is.
    pub(crate) fn has_own_stack(&self) -> bool {
        self.own_stack
    }

    /// The addresses below its stack that stay unmapped, as far as they are at least.
    pub fn guard(&self) -> Range<usize> {
        self.bottom - STACK_GUARD..self.bottom
    }

    /// Whether it has ended, and its stack is unmapped or kept for the next thread.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits until it has ended. A thread that joins itself waits for ever.
    pub fn join(&self) {
        self.end.wait_until(|| self.has_ended());
    }

    /// Lets its next [`park`], or the one it is in, return.
    pub fn unpark(&self) {
        self.permit.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends its wait, if it waits; else its next one returns at once.
    pub(crate) fn wake(&self) {
        let before = {
            let mut wake = self.wake.lock();
            let now = match *wake {
                Wake::Waits(_) => Wake::Awake,
                _ => Wake::Early,
            };
            core::mem::replace(&mut *wake, now)
        };
        if let Wake::Waits(thread) = before {
            make_ready(thread);
        }
    }

    /// Says that it, which runs, waits from now on; unless it has been woken already.
    pub(crate) fn fall_asleep(&self, own: Shared<Thread>) -> bool {
        let mut wake = self.wake.lock();
        let waits = !matches!(*wake, Wake::Early);
        *wake = match waits {
            true => Wake::Waits(own),
            false => Wake::Awake,
        };
        waits
    }

    /// Gives back what a dead thread has, and wakes the threads that wait for its end.
    pub(crate) fn bury(&self) {
        let stack = self.stack.lock().take();
        if let Some(stack) = stack {
            stack.retire();
        }
        queue_of(self.hart).lock().dismiss();
        self.ended.store(true, Ordering::Release);
        self.end.notify_all();
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, hart, .. } = self;
        write!(f, "thread {id}, {name:?}, of hart {hart}")
    }
}

/// Lets a thread run when its turn comes, and its hart know.
pub(crate) fn make_ready(thread: Shared<Thread>) {
    let hart = thread.hart;
    let here = hart == axhal::hart::this_hart();
    let mut queue = queue_of(hart).lock();
    let first = queue.push(thread);
    if here {
        queue.arm();
    }
    drop(queue);
    if first && !here {
        axhal::irq::kick(hart);
    }
}

/// Makes `thread` what this hart runs. Answers who it was before.
pub(crate) fn replace_current(thread: Shared<Thread>) -> Option<Shared<Thread>> {
    let before = CURRENT.read_current();
    CURRENT.write_current(thread.into_raw().expose_provenance());
    // SAFETY: it is this function's own, given away by an earlier call.
    (before != 0).then(|| unsafe { Shared::from_raw(core::ptr::with_exposed_provenance(before)) })
}

/// The thread that runs this. It stays as long as the caller, which it is.
pub(crate) fn this_thread() -> Option<&'static Thread> {
    let current: *const Thread = core::ptr::with_exposed_provenance(CURRENT.read_current());
    // SAFETY: the hart owns what it runs; a thread that reads it finds itself, on
    // whatever moment it is interrupted, and is there while it runs.
    unsafe { current.as_ref() }
}

/// The number of the thread that runs this; `None` on a hart that runs no threads.
pub fn current_id() -> Option<u64> {
    this_thread().map(Thread::id)
}

/// The thread that runs this. Every hart runs one from [`init_hart`](crate::init_hart) on.
pub fn current() -> Shared<Thread> {
    let current = CURRENT.read_current();
    // SAFETY: as in `this_thread`; the hart's ownership stays where it is.
    let own = core::mem::ManuallyDrop::new(unsafe {
        Shared::from_raw(core::ptr::with_exposed_provenance::<Thread>(current))
    });
    Shared::clone(&own)
}

/// Waits until somebody [unparks](Thread::unpark) the calling thread, or has since it
/// last parked.
pub fn park() {
    park_until(None);
}

/// As [`park`], but not beyond the monotonic time `deadline`, in nanoseconds, if there is
/// one. Answers whether it was unparked.
pub fn park_until(deadline: Option<u64>) -> bool {
    let me = current();
    loop {
        if me.permit.swap(false, Ordering::Acquire) {
            return true;
        }
        if deadline.is_some_and(|deadline| monotonic_time_nanos() >= deadline) {
            return false;
        }
        block(deadline);
    }
}
