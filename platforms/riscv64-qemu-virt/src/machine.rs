//! Implements `axmachine`'s traits for this machine.

use axmachine::{CacheIf, Inventory, MachineIf, StackMemory};

use crate::firmware::{self, device_tree};

/// The compatible names of the devices that the kernel uses: the console and the power
/// switch.
const NEEDED: [&str; 2] = ["ns16550a", "sifive,test0"];

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

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}

struct Cache;

#[axplat::impl_interface]
impl CacheIf for Cache {
    fn zero_block() -> Option<usize> {
        device_tree()?.zero_block()
    }
}
