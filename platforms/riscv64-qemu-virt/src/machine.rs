//! What was found at boot, and the questions that `axmachine` asks.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU64, AtomicUsize};

use axconfig::PHYS_VIRT_OFFSET;
use axmachine::{DeviceTree, HartId, Inventory, MachineIf};
use spin::Once;

/// What the firmware handed over: the first hart's id, the device tree's physical
/// address, and the clock at the kernel's first instruction.
static HART: AtomicUsize = AtomicUsize::new(0);
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);

static INVENTORY: Once<Inventory> = Once::new();

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(hart_id: HartId, device_tree: usize, ticks: u64) {
    HART.store(hart_id, Relaxed);
    DEVICE_TREE.store(device_tree, Relaxed);
    TICKS.store(ticks, Relaxed);
}

/// The device tree; `None` where the firmware gave none.
pub fn device_tree() -> Option<DeviceTree> {
    // SAFETY: by the SBI boot protocol the address is a device tree, it lies in
    // RAM, which both page tables map at this offset, and `reserved` keeps it.
    unsafe { DeviceTree::new((DEVICE_TREE.load(Relaxed) + PHYS_VIRT_OFFSET) as *const u8) }
}

/// RAM, devices and harts. Read from the device tree at the first call, which
/// is the first hart's.
pub fn inventory() -> &'static Inventory {
    INVENTORY.call_once(|| match device_tree() {
        Some(tree) => tree.inventory(HART.load(Relaxed), DEVICE_TREE.load(Relaxed)),
        None => Inventory::new(HART.load(Relaxed)),
    })
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
        device_tree()
            .map(|tree| tree.boot_args())
            .unwrap_or_default()
    }

    fn boot_ticks() -> u64 {
        TICKS.load(Relaxed)
    }

    fn hardware_id(cpu_id: usize) -> HartId {
        if cpu_id == 0 {
            return HART.load(Relaxed);
        }
        inventory()
            .harts()
            .get(cpu_id)
            .copied()
            .unwrap_or(usize::MAX)
    }

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
