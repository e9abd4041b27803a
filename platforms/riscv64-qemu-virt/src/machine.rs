//! What was found at boot, and the questions that `axmachine` asks.

use axconfig::PHYS_VIRT_OFFSET;
use axmachine::{DeviceTree, HartId, Inventory, MachineIf};
use lazyinit::LazyInit;

/// What the firmware handed over.
struct Boot {
    hart_id: HartId,
    device_tree: usize,
    ticks: u64,
}

static BOOT: LazyInit<Boot> = LazyInit::new();
static INVENTORY: LazyInit<Inventory> = LazyInit::new();

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(hart_id: HartId, device_tree: usize, ticks: u64) {
    BOOT.init_once(Boot {
        hart_id,
        device_tree,
        ticks,
    });
}

/// The device tree; `None` where the firmware gave none.
pub fn device_tree() -> Option<DeviceTree> {
    // SAFETY: by the SBI boot protocol the address is a device tree, it lies in
    // RAM, which both page tables map at this offset, and `reserved` keeps it.
    unsafe { DeviceTree::new((BOOT.device_tree + PHYS_VIRT_OFFSET) as *const u8) }
}

/// RAM, devices and harts. Read from the device tree at the first call, which
/// is the first hart's.
pub fn inventory() -> &'static Inventory {
    INVENTORY.call_once(|| match device_tree() {
        Some(tree) => tree.inventory(BOOT.hart_id, BOOT.device_tree),
        None => Inventory::new(BOOT.hart_id),
    });
    &INVENTORY
}

/// The kernel's number of a hart.
#[cfg(feature = "smp")]
pub fn cpu_of_hart(hart_id: HartId) -> Option<usize> {
    inventory().harts().iter().position(|&id| id == hart_id)
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        device_tree().map(|tree| tree.boot_args()).unwrap_or_default()
    }

    fn boot_ticks() -> u64 {
        BOOT.ticks
    }

    fn hardware_id(cpu_id: usize) -> HartId {
        if cpu_id == 0 {
            return BOOT.hart_id;
        }
        inventory().harts().get(cpu_id).copied().unwrap_or(usize::MAX)
    }

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
