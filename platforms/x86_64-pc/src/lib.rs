//! A PC with ACPI. A loader with the PVH protocol starts it, as QEMU does (`-kernel`) for its
//! machines `q35` and `pc`.
//!
//! RAM is read from the loader's memory map, and harts and devices from the ACPI tables. The
//! clock's rate is read from the CPU, or measured against ACPI's timer. Constants are the same on
//! all PCs: the first serial port is at I/O port 0x3f8.
//!
//! In comments "SDM" is volume 3 of Intel's Software Developer's Manual, edition of 2024.
//! "ACPI" is the ACPI Specification 6.5, and "PVH" is Xen's x86/HVM direct boot ABI.
//!
//! Locks: the console's UART (`console`). No other lock is taken while it is held.
#![no_std]
#![cfg(all(target_arch = "x86_64", target_os = "none"))]

mod boot;
mod boot_page_table;
mod calibration;
mod console;
mod features;
mod firmware;
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
