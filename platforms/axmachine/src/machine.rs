//! The functions of a platform that `axplat` has no trait for.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use crate::{HartId, Inventory, StackMemory};

/// What each platform implements for its machine.
#[crate_interface::def_interface(gen_caller)]
pub trait MachineIf {
    /// Returns the kernel's command line, as the boot loader passed it; it may be empty.
    fn boot_args() -> &'static str;

    /// Finds the machine's RAM, devices and harts. Called once, by the first hart.
    fn take_inventory() -> Inventory;

    /// Maps the stack of a hart other than the first in the boot page table, at the address
    /// [`hart_stack`](axconfig::hart_stack). The first hart's stack is mapped by the entry
    /// code.
    fn map_stack(memory: StackMemory);

    /// Powers the machine off with an exit status. The status reaches the process that
    /// started the machine if the machine has a device for that.
    fn exit(status: u8) -> !;
}

/// What a platform says about its harts' caches. Only RISC-V needs it, for its harts have
/// no register with this information.
#[crate_interface::def_interface(gen_caller)]
pub trait CacheIf {
    /// Returns how many bytes one instruction zeroes; `None` if a hart lacks the instruction
    /// or has another size.
    fn zero_block() -> Option<usize>;
}

static INVENTORY: Once<Inventory> = Once::new();
static BOOT_TICKS: AtomicU64 = AtomicU64::new(0);

/// Returns the machine's RAM, devices and harts. The first call discovers them.
pub fn inventory() -> &'static Inventory {
    INVENTORY.call_once(take_inventory)
}

/// Returns the hardware's id of hart `cpu_id`; `usize::MAX` if the machine has no such hart.
pub fn hardware_id(cpu_id: usize) -> HartId {
    inventory()
        .harts()
        .get(cpu_id)
        .copied()
        .unwrap_or(HartId::MAX)
}

/// Returns the kernel's number of the hart with the hardware id `id`.
pub fn cpu_of(id: HartId) -> Option<usize> {
    inventory().harts().iter().position(|&found| found == id)
}

/// Stores the clock's ticks at the kernel's first instruction, which the platform's entry
/// code has read.
pub fn remember_boot_ticks(ticks: u64) {
    // Relaxed: `boot_ticks` reads it on this hart, or on harts that this hart starts later.
    BOOT_TICKS.store(ticks, Ordering::Relaxed);
}

/// Returns the clock's ticks at the kernel's first instruction.
pub fn boot_ticks() -> u64 {
    // Relaxed: `remember_boot_ticks` stored the value before another hart was started.
    BOOT_TICKS.load(Ordering::Relaxed)
}
