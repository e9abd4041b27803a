//! The questions about a machine that `axplat` does not ask.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use crate::{HartId, Inventory, StackMemory};

/// What a platform says of its machine.
#[crate_interface::def_interface(gen_caller)]
pub trait MachineIf {
    /// The words the boot loader passed to the kernel; empty when there are none.
    fn boot_args() -> &'static str;

    /// Finds out what the machine has. Asked once, by the first hart.
    fn take_inventory() -> Inventory;

    /// Maps the stack of a hart other than the first in the boot page table, where
    /// [`hart_stack`](axconfig::hart_stack) says. The first hart maps its own when it
    /// enters.
    fn map_stack(memory: StackMemory);

    /// Powers the machine off and tells whoever watches it that it ended with
    /// `status`, over the machine's own channel where it has one.
    fn exit(status: u8) -> !;
}

/// What a platform says of its harts' caches where the harts cannot say it
/// themselves: nobody asks but on RISC-V.
#[crate_interface::def_interface(gen_caller)]
pub trait CacheIf {
    /// The bytes that one instruction zeroes on every hart alike; `None` where
    /// some hart has no such instruction, or another size.
    fn zero_block() -> Option<usize>;
}

static INVENTORY: Once<Inventory> = Once::new();
static BOOT_TICKS: AtomicU64 = AtomicU64::new(0);

/// RAM, devices and harts.
pub fn inventory() -> &'static Inventory {
    INVENTORY.call_once(take_inventory)
}

/// The hardware's own id of the hart that the kernel counts as `cpu_id`;
/// `usize::MAX` for one the machine does not have.
pub fn hardware_id(cpu_id: usize) -> HartId {
    inventory()
        .harts()
        .get(cpu_id)
        .copied()
        .unwrap_or(HartId::MAX)
}

/// The kernel's number of the hart that the hardware calls `id`.
pub fn cpu_of(id: HartId) -> Option<usize> {
    inventory().harts().iter().position(|&found| found == id)
}

/// Keeps the clock's ticks at the kernel's first instruction, which a platform's
/// entry code has read.
pub fn remember_boot_ticks(ticks: u64) {
    BOOT_TICKS.store(ticks, Ordering::Relaxed);
}

/// The clock's ticks at the kernel's first instruction.
pub fn boot_ticks() -> u64 {
    BOOT_TICKS.load(Ordering::Relaxed)
}
