//! Implements `axmachine`'s traits for this machine.

use axmachine::{Inventory, MachineIf, StackMemory};

use crate::firmware::{self, COMMAND_LINE_SIZE};

/// The compatible names of the devices that the kernel uses: the console and the power
/// switch.
const NEEDED: [&str; 2] = ["ns16550a", "syscon"];

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    /// Returns the command line, which QEMU passes by address and not in the device tree.
    fn boot_args() -> &'static str {
        firmware::command_line()
    }

    fn take_inventory() -> Inventory {
        let boot_hart = firmware::boot_hart();
        let mut found = match firmware::device_tree() {
            Some(tree) => tree.inventory(boot_hart, firmware::device_tree_paddr(), &NEEDED),
            None => Inventory::new(boot_hart),
        };
        let (start, size) = firmware::command_line_range();
        found.reserve_mapped(start, size);
        if firmware::command_line().len() == COMMAND_LINE_SIZE - 1 {
            // QEMU cuts a longer command line without a message.
            found.ignore("boot arguments beyond 511 bytes", (start, size));
        }
        found
    }

    fn map_stack(memory: StackMemory) {
        crate::boot_page_table::map_stack(memory);
    }

    fn exit(_status: u8) -> ! {
        crate::power::off()
    }
}
