//! Implements `axmachine`'s traits, with the options that [`power_on`] received.

use axmachine::{Inventory, MachineIf, StackMemory};
use spin::Once;

/// The options of the machine.
struct Options {
    harts: usize,
    boot_args: &'static str,
}

static OPTIONS: Once<Options> = Once::new();

/// Turns the process into a machine whose first hart is the calling thread. `harts` is the
/// number of harts, and `mem` the size of RAM in bytes, rounded down to whole pages.
///
/// Returns `false` if Linux has less memory, or if the process uses addresses of the kernel.
/// Must be called once, before all other code of the kernel.
pub fn power_on(harts: usize, mem: usize, boot_args: &'static str) -> bool {
    axmachine::remember_boot_ticks(crate::time::start());
    OPTIONS.call_once(|| Options { harts, boot_args });
    let size = mem & !(axconfig::PAGE_SIZE - 1);
    size > 0 && crate::ram::create(size) && crate::harts::register_hart(0)
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        OPTIONS.get().map_or("", |options| options.boot_args)
    }

    fn take_inventory() -> Inventory {
        let mut found = Inventory::new(0);
        (1..OPTIONS.get().map_or(1, |options| options.harts)).for_each(|id| found.add_hart(id));
        let ram = crate::ram::range();
        found.add_ram(ram.start, ram.len());
        found
    }

    /// Does nothing: each hart's thread maps its own stack, which is not in a page table.
    fn map_stack(_memory: StackMemory) {}

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
