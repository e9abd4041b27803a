//! What the boot loader passed to the kernel: the device tree.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use axmachine::{DeviceTree, HartId, phys_to_virt};

// Relaxed in all accesses: the entry code stores both before it starts another hart.
static BOOT_HART: AtomicUsize = AtomicUsize::new(0);
/// The physical address of the device tree; 0 without a device tree.
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// Stores what the entry code received: the physical address of the device tree, and the
/// clock's ticks. Called once, by the first hart, before all other functions.
pub fn remember_boot(device_tree: usize, ticks: u64) {
    BOOT_HART.store(this_hart_id(), Relaxed);
    DEVICE_TREE.store(device_tree, Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// Returns the hardware id of the calling hart, as in PSCI and in the device tree: the fields
/// Aff3 to Aff0 of MPIDR_EL1, at their positions in the register.
pub fn this_hart_id() -> HartId {
    const AFFINITY: u64 = 0xff_00ff_ffff;
    (MPIDR_EL1.get() & AFFINITY) as HartId
}

/// Returns the first hart's id.
pub fn boot_hart() -> HartId {
    BOOT_HART.load(Relaxed)
}

/// Returns the physical address of the device tree; 0 without a device tree.
pub fn device_tree_paddr() -> usize {
    DEVICE_TREE.load(Relaxed)
}

/// Returns the device tree; `None` if the boot loader passed no device tree.
pub fn device_tree() -> Option<DeviceTree> {
    let paddr = device_tree_paddr();
    if paddr == 0 {
        return None;
    }
    // SAFETY: by the Linux boot protocol a device tree is at this address. QEMU puts it in RAM
    // below `BOOT_MAPPED`, which both page tables map at this offset. The inventory reserves it,
    // so it never changes.
    unsafe { DeviceTree::new(phys_to_virt(paddr) as *const u8) }
}
