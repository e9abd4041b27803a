//! Finds the device tree in the EFI system table that QEMU builds (UEFI Specification 2.10,
//! section 4.3).

use axmachine::phys_to_virt;

/// The GUID of the device tree's entry in the configuration table, in memory order:
/// b1b621d5-f19c-41a5-830b-d9152c69aae0.
const DEVICE_TREE: [u8; 16] = [
    0xd5, 0x21, 0xb6, 0xb1, 0x9c, 0xf1, 0xa5, 0x41, 0x83, 0x0b, 0xd9, 0x15, 0x2c, 0x69, 0xaa, 0xe0,
];

/// `EFI_SYSTEM_TABLE` of a 64-bit machine.
#[repr(C)]
struct SystemTable {
    signature: [u8; 8],
    unused: [u64; 12],
    entries: usize,
    configuration: usize,
}

/// An entry of the `EFI_CONFIGURATION_TABLE`.
#[repr(C)]
struct Entry {
    guid: [u8; 16],
    address: usize,
}

/// Returns the physical address of the device tree, from the EFI system table at the physical
/// address `system_table`. `None` if there is no system table, or it has no device tree.
///
/// # Safety
///
/// The memory of a system table must be readable at this address. If its signature is that of
/// a system table, its configuration table must be readable too.
pub unsafe fn device_tree(system_table: usize) -> Option<usize> {
    // SAFETY: the caller promises that the table is readable. EFI aligns its tables to 8
    // bytes.
    let table = unsafe { &*(phys_to_virt(system_table) as *const SystemTable) };
    if table.signature != *b"IBI SYST" {
        return None;
    }
    let first = phys_to_virt(table.configuration) as *const Entry;
    // SAFETY: the signature is right, so the caller promises that this table is readable.
    let entries = unsafe { core::slice::from_raw_parts(first, table.entries) };
    let found = entries.iter().find(|entry| entry.guid == DEVICE_TREE)?;
    Some(found.address)
}
