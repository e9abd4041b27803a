//! The machine's verbs: traps, the page-table root, the TLB, interrupts, harts,
//! time and power. What they are used for is decided above.
//!
//! Per-architecture code is in [`arch`], which has the same names on each of the
//! four; what one kind of machine differs in from another of the same
//! architecture is in the platform crates, behind the traits of `axplat` and
//! `axmachine`.
//!
//! Locks: none here is held while anything above axhal runs. `tlb::SHOOTDOWN`
//! (architectures whose harts must be asked by interrupt) is taken with
//! interrupts as they are and answers other harts' requests while it waits, so
//! that two harts that ask each other both go on.
#![no_std]
#![cfg(target_os = "none")]

pub mod arch;
pub mod hart;
#[cfg(feature = "irq")]
pub mod irq;
pub mod mem;
#[cfg(feature = "paging")]
pub mod paging;
pub mod power;
pub mod probe;
pub mod time;
#[cfg(feature = "paging")]
pub mod tlb;
pub mod trap;

#[cfg(target_arch = "aarch64")]
use aarch64_qemu_virt as _;
#[cfg(target_arch = "loongarch64")]
use loongarch64_qemu_virt as _;
#[cfg(target_arch = "riscv64")]
use riscv64_qemu_virt as _;
#[cfg(target_arch = "x86_64")]
use x86_64_pc as _;

pub use axmachine::boot_args;
