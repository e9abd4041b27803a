//! Entries of Arm page tables.

use super::{Entry, Format, Memory, Rights, SHARED, bit, bits};

/// Set if TLB entries of the page are valid for one ASID only.
const NOT_GLOBAL: u64 = bit(11);

/// Arm Architecture Reference Manual, D8.3 "Translation table descriptor
/// formats", D8.4 "Memory access control", D8.6.2 "Stage 1 Cacheability". The
/// granule is 4 KiB, and addresses have 48 bits. The manual numbers levels from the root on.
pub struct A64;

impl Format for A64 {
    const LEVELS: usize = 4;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const VALID: u64 = bit(0);
        const TABLE_OR_PAGE: u64 = bit(1);
        const AF: u64 = bit(10);
        let address = (entry & bits(47, 12)) as usize;
        if entry & VALID == 0 {
            return match entry & !(bits(47, 12) | NOT_GLOBAL) {
                0 => Ok(Entry::Kept(address)),
                SHARED if level > 0 => Ok(Entry::Shared(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if entry & bits(51, 48) != 0 {
            return Err("reserved bits, or an address beyond 48 bits");
        }
        if level > 0 && entry & TABLE_OR_PAGE != 0 {
            // The bits NSTable, APTable, UXNTable and PXNTable restrict what pages allow.
            return match entry & bits(63, 59) {
                0 => Ok(Entry::Table(address)),
                _ => Err("a table that restricts rights"),
            };
        }
        if level == 3 {
            return Err("a level 0 block is reserved");
        }
        if level == 0 && entry & TABLE_OR_PAGE == 0 {
            return Err("a level 3 block is reserved");
        }
        if entry & AF == 0 {
            return Err("no access flag");
        }
        Ok(Entry::Page(address, rights(entry)?))
    }
}

/// Reads the rights and the kind of memory of a page or block.
fn rights(entry: u64) -> Result<Rights, &'static str> {
    const AP_USER: u64 = bit(6);
    const AP_READ_ONLY: u64 = bit(7);
    const PXN: u64 = bit(53);
    const UXN: u64 = bit(54);
    // The attribute indices of MAIR, as axhal sets it: 0 is Device-nGnRE, 1 is Normal, 2 is
    // Non-cacheable. Normal memory is inner shareable.
    let memory = match ((entry & bits(4, 2)) >> 2, (entry & bits(9, 8)) >> 8) {
        (0, _) => Memory::Device,
        (1, 0b11) => Memory::Normal,
        (2, 0b11) => Memory::Uncached,
        _ => return Err("an unknown attribute index, or not inner shareable"),
    };
    let user = entry & AP_USER != 0;
    if !user && entry & UXN == 0 {
        return Err("user mode may execute it");
    }
    if user && entry & PXN == 0 {
        return Err("the kernel may execute a user page");
    }
    Ok(Rights {
        read: true,
        write: entry & AP_READ_ONLY == 0,
        execute: entry & if user { UXN } else { PXN } == 0,
        user,
        global: entry & NOT_GLOBAL == 0,
        memory,
    })
}
