//! What the machine has: what [`power_on`] was told.

use axmachine::{Inventory, MachineIf, StackMemory};
use spin::Once;

/// What was asked for.
struct Asked {
    harts: usize,
    boot_args: &'static str,
}

static ASKED: Once<Asked> = Once::new();

/// Makes a machine of the process, with `mem` bytes of RAM, whole pages of them, and
/// the calling thread as its first hart. Answers whether there is so much memory, and
/// the addresses of the kernel are free.
/// Called once, before anything of the kernel.
pub fn power_on(harts: usize, mem: usize, boot_args: &'static str) -> bool {
    axmachine::remember_boot_ticks(crate::time::start());
    ASKED.call_once(|| Asked { harts, boot_args });
    let size = mem & !(axconfig::PAGE_SIZE - 1);
    size > 0 && crate::ram::create(size) && crate::harts::sit_down(0)
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        ASKED.get().map_or("", |asked| asked.boot_args)
    }

    fn take_inventory() -> Inventory {
        let mut found = Inventory::new(0);
        (1..ASKED.get().map_or(1, |asked| asked.harts)).for_each(|id| found.add_hart(id));
        let ram = crate::ram::range();
        found.add_ram(ram.start, ram.len());
        found
    }

    /// Each hart's thread gives itself a stack, before and after the kernel has a page
    /// table of its own.
    fn map_stack(_memory: StackMemory) {}

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
