//! What the platform crates share, beside the traits of [`axplat`]: the few
//! questions about a machine that those do not ask ([`MachineIf`]), the list of
//! what was found at boot ([`Inventory`]), the device tree it is read from, and
//! the arithmetic of a clock.
//!
//! [`axplat`]: https://docs.rs/axplat
#![cfg_attr(not(test), no_std)]

mod clock;
#[cfg(any(feature = "devicetree", test))]
mod devicetree;
#[cfg(any(feature = "devicetree", test))]
mod fdt;
mod inventory;

pub use clock::Clock;
#[cfg(any(feature = "devicetree", test))]
pub use devicetree::DeviceTree;
pub use inventory::{HartId, Inventory, RawRange, sort_ranges};

/// What the kernel asks of a machine beyond `axplat`'s traits.
#[crate_interface::def_interface(gen_caller)]
pub trait MachineIf {
    /// The words the boot loader passed to the kernel; empty when there are none.
    fn boot_args() -> &'static str;

    /// The clock's ticks at the kernel's first instruction.
    fn boot_ticks() -> u64;

    /// The hardware's own id of the hart that the kernel counts as `cpu_id`.
    ///
    /// `usize::MAX` for a `cpu_id` the machine does not have.
    fn hardware_id(cpu_id: usize) -> HartId;

    /// Powers the machine off and tells whoever watches it that it ended with
    /// `status`, over the machine's own channel where it has one.
    fn exit(status: u8) -> !;
}
