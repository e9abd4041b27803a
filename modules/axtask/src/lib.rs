//! Threads: which thread runs on which hart, what each thread waits for, and until when.
//!
//! ```text
//!   spawn ─► Thread ──► ready ────────────► runs ──► ended ──► reaped: its stack is cached
//!            (thread,   (run_queue)    ▲     │ │                or unmapped, and threads
//!             stack)       ▲           └─────┘ │                that join it wake (reap)
//!                          │         its slice │
//!                          │           is over ▼
//!                          └── woken ◄── waits: WaitQueue, sleep, park
//!                              (wake)    (wait)
//! ```
//!
//! # Files
//!
//! Each file uses only files below it, so they can be read from the bottom up.
//!
//! ```text
//!   preempt  spawn  init  wait   an interrupt; a new thread; a hart's first and idle thread;
//!      └───────┴──┬───┴─────┘    giving up the hart until a notification or a deadline
//!             schedule           switching from one thread of a hart to the next
//!                 │
//!               reap             freeing what an ended thread has
//!                 │
//!               wake             making threads ready
//!                 │
//!       current ──┴── run_queue  the running thread; ready threads, sleepers and the timer
//!          └──────┬─────┘
//!              thread            the record of a thread, and the lists that link threads
//!          ┌──────┴─────┐
//!        stack       shared      stacks and their cache; reference counts
//!          │
//!      interrupts                whether interrupts switch threads; the lock that stops them
//! ```
//!
//! # Scheduling
//!
//! A thread stays on the hart that it gets when it is spawned: the hart that the caller
//! names, or the hart that has the fewest threads. A hart's number, its magazines of frames
//! and the user address space that it has entered therefore stay right for a thread. That
//! holds even if an interrupt switches to another thread and back.
//!
//! Only the hart itself takes threads out of its run queue. A thread that is woken while it
//! is still about to give up the hart therefore cannot run twice. The price is that an idle
//! hart does not take over threads of a busy one.
//!
//! Scheduling is round robin. The ready thread that has waited longest runs next. It runs
//! until it waits, yields, or has used up [`SLICE_NS`] while other threads are ready. A
//! hart's timer is set for the end of that slice or for the first sleeper's deadline,
//! whichever is earlier. There is no periodic tick. A hart without a ready thread runs its
//! idle thread, which sleeps until an interrupt. A hart that makes a thread ready on another
//! hart sends that hart an interrupt.
//!
//! Interrupts are off during a switch from one thread to the next. An interrupt can switch
//! threads wherever interrupts are on and no `axhal::threads::NoPreempt` exists. All locks of
//! the kernel keep interrupts off, and so does code that works on a hart's own data. A
//! process has no interrupts except where a hart waits: threads of `ARCH=host` switch only
//! when they wait or yield.
//!
//! A user address space that a thread has entered (`SharedAspace::run`) belongs to the
//! thread. The hart leaves it when it switches away from the thread, and enters it again
//! when it switches back.
//!
//! # Promises
//!
//! - [`spawn()`] returns an error if there is no memory, and leaves nothing behind.
//! - Waiting, waking, sleeping and ending allocate nothing.
//! - Below every stack is a guard zone of at least 1 MiB. All pages of a stack have their
//!   frames from the start. A trap therefore either has room on the stack, or is reported
//!   with the thread's name.
//! - When a thread can be joined, its stack has been unmapped or put into the stack cache.
//!   The cache is emptied when memory is short ([`free_cached_stacks`]).
//! - A panic in a thread ends the machine, like any other panic.
//!
//! # Locks
//!
//! Each run queue, wait queue, wait state of a thread, and stack of a thread has a lock, and
//! so has the stack cache. All of them keep interrupts off. No second lock is taken while one
//! of them is held, except the heap's. That one is taken when a run queue reserves room for
//! a sleeper, or the stack cache for a stack.
#![no_std]
#![cfg(any(target_os = "none", target_os = "linux"))]

extern crate alloc;

mod current;
mod init;
mod interrupts;
mod preempt;
mod reap;
mod run_queue;
mod schedule;
mod shared;
mod spawn;
mod stack;
mod thread;
mod wait;
mod wake;

pub use current::{current, current_id};
pub use init::{idle_of, init_hart};
pub use interrupts::PREEMPTIVE;
pub use schedule::{SLICE_NS, exit, yield_now};
pub use shared::{Shared, try_box};
pub use spawn::{MAX_WORK_ON_STACK, Spawn, spawn, spawn_borrowing};
pub use stack::free_cached_stacks;
pub use thread::{Thread, WaitQueue};
pub use wait::{park, park_until, sleep_until};
