//! QEMU's aarch64 `virt` machine, or another machine that boots an arm64 Linux image at the
//! same address.
//!
//! RAM, harts, the console, the interrupt controller and the instruction that calls the
//! firmware are read from the device tree. The only constant of the machine is the address at
//! which the image is loaded.
//!
//! Locks: the console's UART (`console`), and the redistributors of the interrupt controller
//! (`gic`). No other lock is taken while one of them is held.
#![no_std]
#![cfg(all(target_arch = "aarch64", target_os = "none"))]

mod boot;
mod boot_page_table;
mod console;
mod el2;
mod features;
mod firmware;
#[cfg(feature = "irq")]
mod gic;
mod init;
#[cfg(feature = "irq")]
mod irq;
mod machine;
mod power;
mod time;
