//! QEMU's riscv64 `virt` machine, under any firmware that speaks SBI.
//!
//! RAM, harts, the console, the clock's rate and the power switch are read from the device
//! tree that the firmware passes. The only constant of the machine is the address at which
//! the image is loaded.
//!
//! Locks: the console's UART (`console`). No other lock is taken while it is held.
#![no_std]
#![cfg(all(target_arch = "riscv64", target_os = "none"))]

mod boot;
mod boot_page_table;
mod console;
mod features;
mod firmware;
mod init;
#[cfg(feature = "irq")]
mod irq;
mod machine;
mod power;
mod time;
