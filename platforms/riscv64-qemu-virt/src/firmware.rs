//! What the firmware passed to the kernel: the first hart's id and the device tree.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use axmachine::{DeviceTree, HartId, phys_to_virt};

use crate::boot_page_table;

/// An upper bound of the size of a device tree, in bytes.
const MAX_TREE: usize = 1 << 30;

// Relaxed in all accesses: the entry code stores both before it starts another hart.
static BOOT_HART: AtomicUsize = AtomicUsize::new(0);
/// The physical address of the device tree, or of the copy of it; 0 without a device tree.
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// Stores what the entry code received: the first hart's id, the physical address of the
/// device tree, and the clock's ticks. A tree that the kernel does not map is copied first.
/// Called once, before all other functions.
pub fn remember_boot(hart_id: HartId, device_tree: usize, ticks: u64) {
    BOOT_HART.store(hart_id, Relaxed);
    let mapped = match device_tree < MAX_PHYS - MAX_TREE {
        true => Some(device_tree),
        // SAFETY: the first hart runs in the boot page table and has not started another. By
        // the SBI boot protocol a device tree is at this address.
        false => unsafe { copy_to_mapped_ram(device_tree) },
    };
    DEVICE_TREE.store(mapped.unwrap_or(0), Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// Copies the device tree at `paddr` to RAM that the kernel maps. Firmware puts the tree at
/// the end of RAM, which may be above what the kernel maps. Returns the physical address of
/// the copy; `None` if there is no tree or no free RAM for it.
///
/// # Safety
///
/// A device tree must be at `paddr`. The boot page table must be loaded, and no other hart
/// may run.
unsafe fn copy_to_mapped_ram(paddr: usize) -> Option<usize> {
    unsafe extern "C" {
        static _ekernel: u8;
    }
    // SAFETY: the caller promises that the boot page table is loaded and no other hart runs.
    let original = unsafe { boot_page_table::map_window(paddr) };
    // SAFETY: the window maps 1 GiB, which is more than a device tree has, and the kernel
    // does not write to the tree.
    let tree = unsafe { DeviceTree::new(original) }?;
    let found = tree.inventory(0, paddr, &[]);
    let image_end = &raw const _ekernel as usize - PHYS_VIRT_OFFSET;
    let copy = found.find_free(image_end, tree.size())?;
    // SAFETY: the boot page table maps `copy`. `find_free` returned RAM that is not reserved
    // and is after the image. From now on the inventory reserves it as the device tree.
    unsafe { original.copy_to_nonoverlapping(phys_to_virt(copy) as *mut u8, tree.size()) };
    Some(copy)
}

/// Returns the first hart's id.
pub fn boot_hart() -> HartId {
    BOOT_HART.load(Relaxed)
}

/// Returns the physical address of the device tree; 0 without a device tree.
pub fn device_tree_paddr() -> usize {
    DEVICE_TREE.load(Relaxed)
}

/// Returns the device tree; `None` if the firmware passed no
/// device tree.
pub fn device_tree() -> Option<DeviceTree> {
    let paddr = device_tree_paddr();
    if paddr == 0 {
        return None;
    }
    // SAFETY: by the SBI boot protocol a device tree, or a copy of it, is at this address. It
    // is in RAM below `MAX_PHYS`, which both page tables map at this offset. The inventory
    // reserves it, so it never changes.
    unsafe { DeviceTree::new(phys_to_virt(paddr) as *const u8) }
}
