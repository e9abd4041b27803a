//! A PC with ACPI, started by a loader that speaks PVH, as QEMU does
//! (`-kernel`) with its machines `q35` and `pc`.
//!
//! RAM comes from the loader's memory map, harts and devices from the ACPI
//! tables, the clock's rate from the CPU or by measuring it against ACPI's timer.
//! What is a constant is so on every PC: the first serial port is at I/O port
//! 0x3f8.
//!
//! "SDM" is volume 3 of Intel's Software Developer's Manual in its edition of
//! 2024, "ACPI" the ACPI Specification 6.5, "PVH" Xen's x86/HVM direct boot ABI.
//!
//! Locks: the console's transmitter (`console`), a leaf.
#![no_std]
#![cfg(all(target_arch = "x86_64", target_os = "none"))]

mod boot;
mod console;
mod features;
mod init;
#[cfg(feature = "irq")]
mod irq;
#[cfg(feature = "irq")]
mod lapic;
mod machine;
mod power;
#[cfg(feature = "smp")]
mod secondary;
mod time;
#[cfg(feature = "irq")]
mod timer;
