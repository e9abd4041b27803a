//! QEMU's aarch64 `virt` machine, or any that boots an arm64 Linux image at the
//! same place.
//!
//! RAM, harts, the console, the interrupt controller and the way to the firmware
//! are read from the device tree the boot loader hands over; nothing about the
//! machine is a constant but where the image is loaded.
//!
//! Locks: the console's transmitter (`console`) and the interrupt controller's
//! registers (`gic`), both leaves.
#![no_std]
#![cfg(all(target_arch = "aarch64", target_os = "none"))]

mod boot;
mod console;
mod el2;
mod features;
#[cfg(feature = "irq")]
mod gic;
mod init;
#[cfg(feature = "irq")]
mod irq;
mod machine;
mod power;
mod time;
