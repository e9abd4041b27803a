//! User programs: what runs in user mode, in which address space, and who waits for its end.
//!
//! There is no system call here. A `Personality` gives programs their calls, and with them numbers,
//! structures and error values.
//!
//! ```text
//!   Process ── parent, children, exit status          the tree: wait and exit
//!      │
//!   UserThread ── axtask thread, UserContext          runs the program and handles its traps
//!      │      └── Personality                         system calls
//!   UserSpace ── SharedAspace                         what the program sees of memory
//!      ▲
//!   Program ── a memory object for each segment       an ELF file that was read once
//! ```
//!
//! A thread runs until its program exits or does what no program may do. Then the address space is
//! dropped first, and the exit status is seen afterwards. So a parent that has waited for a child
//! finds the child's memory free.
//!
//! # Files
//!
//! ```text
//!   thread       a user thread: its loop, fork, exec
//!   process      the tree of processes: begin, end, wait
//!   personality  what a family of programs has to provide
//!   program      ELF files
//!   space        address spaces, and the stack
//!   exit         why a program has ended
//! ```
#![no_std]
#![cfg(target_os = "none")]

extern crate alloc;

mod exit;
mod personality;
mod process;
mod program;
mod space;
mod thread;

pub use exit::{Exit, Kill};
pub use personality::{Next, Personality, Task};
pub use process::{Process, WaitError};
pub use program::Program;
pub use space::{STACK_SIZE, STACK_TOP, UserSpace};
pub use thread::{Executable, begin, fork};
