//! QEMU's riscv64 `virt` machine, under any firmware that speaks SBI.
//!
//! RAM, harts, the console, the clock's rate and the power switch are read from
//! the device tree the firmware hands over; nothing about the machine is a
//! constant but where the image is loaded.
//!
//! Locks: the console's transmitter (`console`), a leaf.
#![no_std]
#![cfg(all(target_arch = "riscv64", target_os = "none"))]

mod boot;
mod console;
mod features;
mod init;
#[cfg(feature = "irq")]
mod irq;
mod machine;
mod power;
mod time;
