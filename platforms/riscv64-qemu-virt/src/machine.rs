//! What was found at boot, and the questions that `axmachine` asks.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axconfig::PHYS_VIRT_OFFSET;
use axmachine::{CacheIf, DeviceTree, HartId, Inventory, MachineIf};

/// What the firmware handed over: the first hart's id, and the device tree's
/// physical address.
static HART: AtomicUsize = AtomicUsize::new(0);
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(hart_id: HartId, device_tree: usize, ticks: u64) {
    HART.store(hart_id, Relaxed);
    DEVICE_TREE.store(device_tree, Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// The device tree; `None` where the firmware gave none.
pub fn device_tree() -> Option<DeviceTree> {
    // SAFETY: by the SBI boot protocol the address is a device tree, it lies in
    // RAM, which both page tables map at this offset, and `reserved` keeps it.
    unsafe { DeviceTree::new((DEVICE_TREE.load(Relaxed) + PHYS_VIRT_OFFSET) as *const u8) }
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        device_tree()
            .map(|tree| tree.boot_args())
            .unwrap_or_default()
    }

    fn take_inventory() -> Inventory {
        match device_tree() {
            Some(tree) => tree.inventory(HART.load(Relaxed), DEVICE_TREE.load(Relaxed)),
            None => Inventory::new(HART.load(Relaxed)),
        }
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
