//! Code that the platform crates share, beside the traits of [`axplat`]:
//!
//! - [`MachineIf`] and [`CacheIf`], functions of a platform that [`axplat`] has no trait for
//! - [`Inventory`], the RAM, devices and harts found at boot
//! - the readers of the device tree and of ACPI tables, which fill the inventory
//! - [`StackMemory`], which maps harts' stacks in a boot page table
//! - [`Serial`], the console on a 16550 UART
//! - [`Clock`], which converts ticks and nanoseconds
//!
//! Locks: each [`Serial`] has a lock for its UART. No other lock is taken while it is held.
//!
//! [`axplat`]: https://docs.rs/axplat
#![cfg_attr(not(test), no_std)]

#[cfg(any(feature = "acpi", test))]
pub mod acpi;
mod clock;
#[cfg(any(feature = "devicetree", test))]
mod devicetree;
#[cfg(any(feature = "devicetree", test))]
mod fdt;
mod inventory;
#[cfg(feature = "irq")]
mod ipi;
#[cfg(any(feature = "devicetree", test))]
mod isa;
mod machine;
mod mem;
#[cfg(feature = "serial")]
mod serial;
mod stack;

pub use clock::Clock;
#[cfg(any(feature = "devicetree", test))]
pub use devicetree::DeviceTree;
pub use inventory::{HartId, Ignored, Inventory, RawRange};
#[cfg(feature = "irq")]
pub use ipi::for_each_target;
pub use machine::{
    CacheIf, MachineIf, boot_args, boot_ticks, cpu_of, exit, hardware_id, inventory, map_stack,
    remember_boot_ticks, zero_block,
};
pub use mem::phys_to_virt;
#[cfg(feature = "serial")]
pub use serial::Serial;
pub use stack::{BootTable, StackMemory};
#[cfg(feature = "serial")]
pub use uart_16550::backend::MmioBackend;
#[cfg(all(feature = "serial", target_arch = "x86_64"))]
pub use uart_16550::backend::PioBackend;
