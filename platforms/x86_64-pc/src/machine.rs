//! Implements `axmachine`'s traits for this machine.

use axmachine::{Inventory, MachineIf, StackMemory};
use pvh::start_info::reader::StartInfoReader;
use pvh::start_info::{MemmapType, StartInfo};

use crate::firmware::{self, LinearMapping, start_info};

/// Adds the RAM on the loader's memory map, and reserves the data that the loader passed.
///
/// Only plain RAM is used. Other types hold data of firmware (ACPI, NVS), do not work
/// (unusable, disabled), or keep their contents without power.
fn add_memory(info: &StartInfoReader<LinearMapping>, found: &mut Inventory) {
    let map = info.memmap();
    found.add_map(map.iter().map(|entry| {
        let range = (entry.addr as usize, entry.size as usize);
        (range, entry.ty() == MemmapType::Ram)
    }));
    let raw = info.raw();
    found.reserve_mapped(firmware::start_info_paddr(), size_of::<StartInfo>());
    found.reserve_mapped(raw.memmap_paddr as usize, size_of_val(map));
    let size = info.cmdline().map_or(0, |line| line.count_bytes() + 1);
    found.reserve_mapped(raw.cmdline_paddr as usize, size);
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        let line = start_info().and_then(|info| info.cmdline());
        line.and_then(|line| line.to_str().ok()).unwrap_or_default()
    }

    fn take_inventory() -> Inventory {
        let mut found = Inventory::new(firmware::boot_hart());
        if let Some(info) = start_info() {
            add_memory(&info, &mut found);
        }
        if let Some(tables) = firmware::acpi() {
            tables.add_to(&mut found);
        }
        #[cfg(feature = "smp")]
        crate::secondary::reserve_trampoline_page(&mut found);
        found
    }

    fn map_stack(memory: StackMemory) {
        crate::boot_page_table::map_stack(memory);
    }

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
