//! A process of Linux on x86_64, in the place of a machine.
//!
//! ```text
//!   physical memory      a memfd; its offsets are physical addresses
//!   a hart               a thread
//!   a TLB entry          a mapping of the process (`ram`), made and dropped by
//!                        axhal, which walks the kernel's page table
//!   an interrupt         a bit, which a hart looks at where it waits (`irq`)
//!   console, clock, off  standard output, CLOCK_MONOTONIC, exit_group
//! ```
//!
//! How many harts and how much memory there are is said by `SMP` and `MEM` in the
//! environment, and the kernel's words are the program's first argument. The kernel
//! image is the process's own and lies in no physical memory: its loader has given
//! each part its rights.
//!
//! What the kernel maps may vanish from the process at any time, as from a TLB, and
//! comes back at the next touch. Linux does not touch: a system call whose argument
//! lies there can fail with `EFAULT`, so each is repeated or has none.
//!
//! Locks: none.
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
