//! Implements `axmachine`'s traits for this machine.

use axmachine::{Inventory, MachineIf, StackMemory};

use crate::firmware::{self, device_tree};

/// The compatible names of the devices that the kernel uses: the console, and the two kinds of
/// interrupt controller. Firmware powers the machine off, so there is no power switch.
const NEEDED: [&str; 3] = ["arm,pl011", "arm,gic-v3", "arm,cortex-a15-gic"];

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        device_tree()
            .map(|tree| tree.boot_args())
            .unwrap_or_default()
    }

    fn take_inventory() -> Inventory {
        let boot_hart = firmware::boot_hart();
        match device_tree() {
            Some(tree) => tree.inventory(boot_hart, firmware::device_tree_paddr(), &NEEDED),
            None => Inventory::new(boot_hart),
        }
    }

    fn map_stack(memory: StackMemory) {
        crate::boot_page_table::map_stack(memory);
    }

    /// Powers off. The machine has no device for the status; the console's last line shows it.
    fn exit(_status: u8) -> ! {
        crate::power::off()
    }
}
