//! Entries of LoongArch page tables.

use super::{Entry, Format, Memory, Rights, SHARED, bit, bits};

/// LoongArch Reference Manual volume 1, 5.4.2 "TLB entry" and 5.4.5 "Multi-level
/// page table structure". `ldpte` loads these entries, and `tlbfill` puts them into the TLB. The
/// entry of a directory is the address of the next table, with bit 6 (H) clear. H marks a large
/// page, and bit 12 of its entry is G.
pub struct La64;

impl Format for La64 {
    const LEVELS: usize = 4;
    const ALL_GLOBAL: bool = true;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const V: u64 = bit(0);
        const HUGE_OR_GLOBAL: u64 = bit(6);
        const PHYSICAL: u64 = bit(7);
        const RPLV: u64 = bit(63);
        let address = (entry & bits(47, 12)) as usize;
        if level > 0 && entry & HUGE_OR_GLOBAL == 0 {
            return match entry & !bits(47, 12) {
                0 => Ok(Entry::Table(address)),
                _ => Err("attributes of a table"),
            };
        }
        if level == 3 {
            return Err("a page of 512 GiB");
        }
        if entry & V == 0 {
            return match entry & !bits(47, 12) {
                0 => Ok(Entry::Kept(address)),
                SHARED if level > 0 => Ok(Entry::Shared(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if entry & (bits(60, 48) | bits(11, 9) | RPLV) != 0 || entry & PHYSICAL == 0 {
            return Err("reserved bits, RPLV, or no P");
        }
        Ok(Entry::Page(address, rights(entry)?))
    }
}

/// Reads the rights and the kind of memory of a page.
fn rights(entry: u64) -> Result<Rights, &'static str> {
    const D: u64 = bit(1);
    const WRITE: u64 = bit(8);
    const NR: u64 = bit(61);
    const NX: u64 = bit(62);
    // A store needs D in the TLB. If D is clear, the exception handler looks at W.
    if (entry & D == 0) != (entry & WRITE == 0) {
        return Err("D and W differ");
    }
    let memory = match (entry & bits(5, 4)) >> 4 {
        0 => Memory::Device,
        1 => Memory::Normal,
        2 => Memory::Uncached,
        _ => return Err("a reserved memory access type"),
    };
    let user = match (entry & bits(3, 2)) >> 2 {
        0 => false,
        3 => true,
        _ => return Err("neither kernel nor user"),
    };
    Ok(Rights {
        read: entry & NR == 0,
        write: entry & D != 0,
        execute: entry & NX == 0,
        user,
        // The handler that refills the TLB marks all kernel pages as global.
        global: true,
        memory,
    })
}
