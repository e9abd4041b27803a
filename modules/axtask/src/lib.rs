//! Threads: who runs on which hart, who waits for what, and until when.
//!
//! ```text
//!   spawn ─► Thread ──► ready, a queue a hart ──► runs ──► dead: its stack goes,
//!            (thread,     (queue)      ▲           │ │      who joins it wakes
//!             stack)                   │ its time  │ │
//!                          woken ▲     └───────────┘ │
//!                                │    (schedule)     │
//!                          waits: WaitQueue, sleep, park  (wait, thread)
//! ```
//!
//! A thread stays on the hart that it is given at its birth: the one named, or else the
//! one with the fewest. So what is a hart's own (its number, its magazines of frames, the
//! user address space that it has entered) does not change under a thread, whenever an
//! interrupt takes the hart from it, and each queue of ready threads is emptied by one
//! hart alone: a thread that is woken while it is still going to sleep is not run twice.
//! The price is that a hart with nothing to do takes over nobody else's threads.
//!
//! Round robin: the ready thread that has waited longest is next, and runs until it
//! waits, yields, or has had [`SLICE_NS`] while others are ready. A hart's timer is set
//! for the nearest of that and the first sleeper's end, so that nothing ticks where
//! nothing is due. A hart without a ready thread runs its idle thread, which sleeps until
//! an interrupt; whoever makes a thread ready for another hart sends it one.
//!
//! Interrupts are out from the moment a thread is taken from the hart until the next one
//! has it. A hart can be taken from any code that lets interrupts in and holds no
//! `axhal::threads::NoPreempt`, and from no other: all locks of the kernel keep interrupts
//! out, and so does code that works on a hart's own data. In a process there are no interrupts where a hart does not wait: threads of
//! `ARCH=host` take turns only where they wait or yield.
//!
//! A user address space that a thread has entered (`SharedAspace::run`) is the thread's:
//! its hart leaves it when the thread goes, and enters it again when it comes back.
//!
//! Promises: no memory is a value of [`spawn()`], of which nothing is left then. Nothing
//! else allocates: to wait, to wake, to sleep and to end need no memory. Below every
//! stack lies a guard zone of at least 1 MiB, and all of a stack's own pages have their
//! frames, so that a trap on it finds room, or is reported with the thread's name. When a
//! thread is joined, its stack is unmapped or kept for the next threads; what is kept goes
//! back when memory is short (`stack`). A panic in a thread is the machine's end, as any
//! other.
//!
//! Locks, each a leaf that keeps interrupts out: a hart's queue, a [`WaitQueue`]'s list,
//! whether a thread waits, its stack, and those that are kept. None is held while another is taken, but for
//! the heap's, when a queue makes room for one more sleeper.
#![no_std]
#![cfg(any(target_os = "none", target_os = "linux"))]

extern crate alloc;

mod queue;
mod schedule;
mod shared;
mod spawn;
mod stack;
mod thread;
mod wait;

pub use schedule::{exit, idle_of, init_hart, sleep_until, yield_now};
pub use shared::{Shared, try_box};
pub use spawn::{MOST_ON_STACK, Spawn, spawn, spawn_borrowing};
pub use stack::give_back as give_back_stacks;
pub use thread::{Thread, current, current_id, park, park_until};
pub use wait::WaitQueue;

/// How long a thread runs while others of its hart are ready, in nanoseconds.
pub const SLICE_NS: u64 = 10_000_000;

/// Whether a hart can be taken from a thread that does not wait; a process's cannot.
pub const PREEMPTIVE: bool = cfg!(target_os = "none");

/// A lock that keeps interrupts out.
type Lock<T> = kspin::BaseSpinLock<axhal::arch::IrqsOff, T>;
