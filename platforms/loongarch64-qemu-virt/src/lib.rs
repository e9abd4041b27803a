//! QEMU's loongarch64 `virt` machine, booted by `-kernel`.
//!
//! RAM, harts, the console and the power switch are read from the device tree, whose address
//! is in the EFI configuration table. The clock's rate is read from the CPU. Two facts are
//! constants: the address at which the image is loaded, and that physical addresses from
//! 256 MiB to 2 GiB belong to devices.
//!
//! Section names in quotes are those of the LoongArch Reference Manual, volume 1, version
//! 1.10. For mailboxes and interrupts between harts they are those of the Loongson
//! 3A5000/3B5000 Processor Reference Manual.
//!
//! Locks: the console's UART (`console`), and the hart that is being started (`secondary`). No
//! other lock is taken while one of them is held.
#![no_std]
#![cfg(all(target_arch = "loongarch64", target_os = "none"))]

mod boot;
mod boot_page_table;
mod console;
mod efi;
mod features;
mod firmware;
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
