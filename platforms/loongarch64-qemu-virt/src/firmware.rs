//! What QEMU passed to the kernel: the command line and the device tree.

use core::ffi::CStr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::{DeviceTree, HartId, RawRange, phys_to_virt};

/// How many bytes QEMU reserves for the command line, the final zero byte included.
pub const COMMAND_LINE_SIZE: usize = 512;

// Relaxed in all accesses: the entry code stores these before it starts another hart.
static BOOT_HART: AtomicUsize = AtomicUsize::new(0);
/// The physical address of the command line.
static COMMAND_LINE: AtomicUsize = AtomicUsize::new(0);
/// The physical address of the device tree; 0 without a device tree.
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// Stores what the entry code received: the physical addresses of the command line and of the
/// EFI system table, and the clock's ticks. Called once, by the first hart, before all other
/// functions.
pub fn remember_boot(command_line: usize, system_table: usize, ticks: u64) {
    // SAFETY: by QEMU's boot protocol a system table is at this address. The boot page table
    // maps all RAM.
    let device_tree = unsafe { crate::efi::device_tree(system_table) };
    BOOT_HART.store(this_hart_id(), Relaxed);
    COMMAND_LINE.store(command_line, Relaxed);
    DEVICE_TREE.store(device_tree.unwrap_or(0), Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// Returns the hardware id of the calling hart ("CPU Identity").
pub fn this_hart_id() -> HartId {
    let id: usize;
    // SAFETY: reading the register has no effect.
    unsafe { core::arch::asm!("csrrd {}, 0x20", out(reg) id, options(nomem, nostack)) };
    id & 0x1ff
}

/// Returns the first hart's id.
pub fn boot_hart() -> HartId {
    BOOT_HART.load(Relaxed)
}

/// Returns the physical range that QEMU reserves for the command line.
pub fn command_line_range() -> RawRange {
    (COMMAND_LINE.load(Relaxed), COMMAND_LINE_SIZE)
}

/// Returns the command line; empty if it is not UTF-8.
pub fn command_line() -> &'static str {
    let (paddr, size) = command_line_range();
    // SAFETY: QEMU reserves this many bytes in RAM, which both page tables map. The inventory
    // reserves them, so they never change.
    let bytes = unsafe { core::slice::from_raw_parts(phys_to_virt(paddr) as *const u8, size) };
    let line = CStr::from_bytes_until_nul(bytes).unwrap_or_default();
    line.to_str().unwrap_or_default()
}

/// Returns the physical address of the device tree; 0 without a device tree.
pub fn device_tree_paddr() -> usize {
    DEVICE_TREE.load(Relaxed)
}

/// Returns the device tree; `None` if QEMU passed no device tree.
pub fn device_tree() -> Option<DeviceTree> {
    let paddr = device_tree_paddr();
    if paddr == 0 {
        return None;
    }
    // SAFETY: the EFI configuration table says that a device tree is at this address. It is
    // in RAM, which both page tables map. The inventory reserves it, so it never changes.
    unsafe { DeviceTree::new(phys_to_virt(paddr) as *const u8) }
}
