//! The library of the programs in `src/bin`, which run in user mode. The kernel gives them the
//! system calls of the rCore tutorial (chapters 4 and 5, with the labs of 2022).
//!
//! ```text
//!   start      what runs before `main`, and after a panic
//!   machine    the entry point and the system-call instruction, for each architecture
//!   syscall    system calls, and their numbers and structures
//!   console    print! and println!
//!   memory     mapped pages, and accesses to any address
//!   process    children: begin one, wait for its end
//!   hostile    what no program may do, for each architecture
//! ```
//!
//! A program checks itself by `assert!`: a panic ends it with the status −1. The head of its file
//! says how it must end, in a line `expected: exit 0` or `expected: killed`. `expected.txt` has
//! these lines of all programs, for the kernel.
#![no_std]
#![cfg(target_os = "none")]

#[macro_use]
pub mod console;
pub mod hostile;
pub mod machine;
pub mod memory;
pub mod process;
mod start;
pub mod syscall;
