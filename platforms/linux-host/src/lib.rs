//! A machine that a process of x86_64 Linux simulates.
//!
//! ```text
//!   physical memory      a memfd; its offsets are physical addresses
//!   a hart               a thread
//!   a TLB entry          a mapping of the process (`ram`); axhal walks the kernel's
//!                        page table and maps or unmaps it
//!   an interrupt         a bit, which a hart reads while it waits (`irq`)
//!   console, clock, off  standard output, CLOCK_MONOTONIC, exit_group
//! ```
//!
//! The environment variables `SMP` and `MEM` set the number of harts and the size of memory.
//! The program's first argument is the kernel's command line. The kernel image is not in
//! physical memory: Linux has loaded it, with the rights of each section.
//!
//! The process may lose a page that the kernel has mapped at any time, as a TLB may lose an
//! entry. The next access raises a signal, whose handler maps the page again. A system call does
//! not raise a signal but fails with `EFAULT`. So each system call with a pointer argument is
//! repeated.
//!
//! This crate has no locks.
#![cfg_attr(not(test), no_std)]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod boot;
mod console;
pub mod harts;
mod init;
#[cfg(feature = "irq")]
pub mod irq;
mod machine;
mod power;
pub mod ram;
mod time;

pub use machine::power_on;
