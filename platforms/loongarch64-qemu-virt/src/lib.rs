//! QEMU's loongarch64 `virt` machine, booted by `-kernel`.
//!
//! RAM, harts, the console and the power switch are read from the device tree,
//! which the EFI configuration table names; the clock's rate is read from the
//! CPU. Constants are only where the image is loaded, and that below 4 GiB
//! physical memory has devices between 256 MiB and 2 GiB.
//!
//! Section names are those of the LoongArch Reference Manual, volume 1,
//! version 1.10, and, for the mailboxes and interrupts between harts, of the
//! Loongson 3A5000/3B5000 Processor Reference Manual.
//!
//! Locks: the console's transmitter (`console`) and who is being called
//! (`secondary`), both leaves.
#![no_std]
#![cfg(all(target_arch = "loongarch64", target_os = "none"))]

mod boot;
mod console;
mod efi;
mod features;
mod init;
#[cfg(feature = "irq")]
mod iocsr;
#[cfg(feature = "irq")]
mod irq;
mod machine;
#[cfg(feature = "smp")]
mod mailbox;
mod power;
#[cfg(feature = "smp")]
mod secondary;
mod time;
