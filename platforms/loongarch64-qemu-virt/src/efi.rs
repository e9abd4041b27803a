//! The EFI system table (UEFI Specification 2.10, section 4.3): where QEMU says
//! where things are.

use axmachine::phys_to_virt;

/// The GUID that names the device tree's entry in the configuration table,
/// b1b621d5-f19c-41a5-830b-d9152c69aae0, as it lies in memory.
const DEVICE_TREE: [u8; 16] = [
    0xd5, 0x21, 0xb6, 0xb1, 0x9c, 0xf1, 0xa5, 0x41, 0x83, 0x0b, 0xd9, 0x15, 0x2c, 0x69, 0xaa, 0xe0,
];

/// `EFI_SYSTEM_TABLE`, on 64-bit machines.
#[repr(C)]
struct SystemTable {
    signature: [u8; 8],
    not_looked_at: [u64; 12],
    entries: usize,
    configuration: usize,
}

/// `EFI_CONFIGURATION_TABLE`: one entry.
#[repr(C)]
struct Entry {
    guid: [u8; 16],
    address: usize,
}

/// The physical address of the device tree, from the EFI system table at
/// physical address `system_table`. `None` if that is no system table, or has
/// no device tree.
///
/// # Safety
///
/// What lies there is readable, and if it is a system table by its signature,
/// then so is its configuration table.
pub unsafe fn device_tree(system_table: usize) -> Option<usize> {
    // SAFETY: the caller's promise; the table is aligned as all of EFI's are.
    let table = unsafe { &*(phys_to_virt(system_table) as *const SystemTable) };
    if table.signature != *b"IBI SYST" {
        return None;
    }
    let first = phys_to_virt(table.configuration) as *const Entry;
    // SAFETY: the caller's promise; the signature has just been checked.
    let entries = unsafe { core::slice::from_raw_parts(first, table.entries) };
    let found = entries.iter().find(|entry| entry.guid == DEVICE_TREE)?;
    Some(found.address)
}
