//! Entries of x86-64 page tables.

use super::{Entry, Format, Memory, Rights, SHARED, bit, bits};

/// Intel SDM volume 3A, 4.5 "4-Level Paging and 5-Level Paging", tables 4-14 to
/// 4-20, and 4.6 "Access Rights". The PAT is as after reset (table 12-12).
pub struct X64;

impl Format for X64 {
    const LEVELS: usize = 4;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const P: u64 = bit(0);
        const RW: u64 = bit(1);
        const US: u64 = bit(2);
        const PWT: u64 = bit(3);
        const PCD: u64 = bit(4);
        const PS: u64 = bit(7);
        const GLOBAL: u64 = bit(8);
        const XD: u64 = bit(63);
        let address = (entry & bits(51, 12)) as usize;
        if entry & P == 0 {
            return match entry & !(bits(51, 12) | GLOBAL) {
                0 => Ok(Entry::Kept(address)),
                SHARED if level > 0 => Ok(Entry::Shared(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if level > 0 && entry & PS == 0 {
            // A page has the rights that all levels allow, so a table must not restrict them.
            return match entry & (RW | XD) == RW && entry & GLOBAL == 0 {
                true => Ok(Entry::Table(address)),
                false => Err("a table that restricts rights"),
            };
        }
        if level == 3 {
            return Err("PS is reserved here");
        }
        // Bit 12 of a large page and bit 7 of a small one select the upper half of the PAT.
        if (level > 0 && entry & bit(12) != 0) || (level == 0 && entry & PS != 0) {
            return Err("the PAT's upper half");
        }
        let memory = match (entry & PCD != 0, entry & PWT != 0) {
            (false, false) => Memory::Normal,
            (true, true) => Memory::Device,
            _ => return Err("neither write-back nor uncacheable"),
        };
        let rights = Rights {
            read: true,
            write: entry & RW != 0,
            execute: entry & XD == 0,
            user: entry & US != 0,
            global: entry & GLOBAL != 0,
            memory,
        };
        Ok(Entry::Page(address, rights))
    }
}
