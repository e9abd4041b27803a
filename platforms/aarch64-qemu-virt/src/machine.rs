//! What was found at boot, and the questions that `axmachine` asks.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use axmachine::{DeviceTree, HartId, Inventory, MachineIf, StackMemory, phys_to_virt};

/// The devices that the kernel uses: the console, and the interrupt controller of
/// either kind. The power switch is the firmware.
const NEEDED: [&str; 3] = ["arm,pl011", "arm,gic-v3", "arm,cortex-a15-gic"];

/// The first hart's id, and the device tree's physical address.
static HART: AtomicUsize = AtomicUsize::new(0);
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(device_tree: usize, ticks: u64) {
    HART.store(this_hart(), Relaxed);
    DEVICE_TREE.store(device_tree, Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// The affinity of the hart that runs this, which is what PSCI and the device
/// tree know it by: MPIDR_EL1's fields Aff3 to Aff0, in their places.
pub fn this_hart() -> HartId {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    (MPIDR_EL1.get() & AFFINITY) as HartId
}

/// The device tree; `None` where the boot loader gave none.
pub fn device_tree() -> Option<DeviceTree> {
    let paddr = DEVICE_TREE.load(Relaxed);
    if paddr == 0 {
        return None;
    }
    // SAFETY: by the Linux boot protocol the address is a device tree. It lies in RAM,
    // which both page tables map at this offset, and the inventory keeps it.
    unsafe { DeviceTree::new(phys_to_virt(paddr) as *const u8) }
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
            Some(tree) => tree.inventory(HART.load(Relaxed), DEVICE_TREE.load(Relaxed), &NEEDED),
            None => Inventory::new(HART.load(Relaxed)),
        }
    }

    fn map_stack(memory: StackMemory) {
        crate::boot::map_stack(memory);
    }

    fn exit(_status: u8) -> ! {
        // The machine has no channel for a status but the console's last line.
        crate::power::off()
    }
}
