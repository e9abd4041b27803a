//! Threads: which thread runs on which hart, what each thread waits for, and until when.
//!
//! ```text
//!                    its slice is over, or it yields
//!                  ┌──────────────◄──────────────────┐
//!                  ▼                                 │
//!   spawn ──────► ready ───────────────────────────► runs ──────► ended ──────► reaped
//!                  ▲                                 │
//!                  └────── woken ◄────── waits ◄─────┘
//! ```
//!
//! A ready thread is in a run queue (`run_queue`). A thread waits in a `WaitQueue`, in `park` or
//! for a deadline (`wait`), until it is woken (`wake`). When an ended thread is reaped, its stack
//! is cached or unmapped, and the threads that join it wake (`reap`).
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
//! names, or the hart that has the fewest threads. An interrupt may switch to another
//! thread and back. The thread may then go on to use its hart's number, its hart's magazines
//! of frames, and the user address space that it has entered.
//!
//! Only the hart itself takes threads out of its run queue. A thread may be woken before it
//! has given up its hart. It is then ready, but no other hart can begin to run it. The price
//! is that an idle hart does not take over threads of a busy one.
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
//! the kernel keep interrupts off, and so does code that works on a hart's own data. In a
//! Linux process that plays the machine (`ARCH=host`), a hart takes interrupts only where it
//! waits. Its threads therefore switch only when they wait or yield.
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
//! of them is held, except those of `axalloc`: a run queue allocates room for a sleeper, and
//! the stack cache allocates room for a stack.
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
pub use spawn::{Spawn, fits_on_stack, spawn, spawn_borrowing};
pub use stack::free_cached_stacks;
pub use thread::{Thread, WaitQueue};
pub use wait::{park, park_until, sleep_until};
