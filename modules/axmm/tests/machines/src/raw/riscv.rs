//! Entries of RISC-V page tables (Sv39, Sv48).

use super::{Entry, Format, Memory, Rights, SHARED, bit, bits};

/// RISC-V Privileged Architecture, "Sv39: Page-Based 39-bit Virtual-Memory
/// System", and in the chapter "Sv32", "Addressing and Memory Protection" and "Virtual
/// Address Translation Process".
pub struct Sv<const LEVELS: usize>;

impl<const LEVELS: usize> Format for Sv<LEVELS> {
    const LEVELS: usize = LEVELS;

    fn entry(entry: u64, level: usize) -> Result<Entry, &'static str> {
        const V: u64 = bit(0);
        const R: u64 = bit(1);
        const W: u64 = bit(2);
        const X: u64 = bit(3);
        const U: u64 = bit(4);
        const G: u64 = bit(5);
        const A: u64 = bit(6);
        const D: u64 = bit(7);
        const PPN: u64 = bits(53, 10);
        let address = ((entry & PPN) >> 10 << 12) as usize;
        if entry & bits(63, 54) != 0 {
            return Err("reserved bits, N or PBMT");
        }
        if entry & V == 0 {
            return match entry & !(PPN | G) {
                0 => Ok(Entry::Kept(address)),
                SHARED if level > 0 => Ok(Entry::Shared(address)),
                _ => Err("attributes of an absent page"),
            };
        }
        if entry & (R | X) == 0 {
            if entry & W != 0 {
                return Err("W without R is reserved");
            }
            return match entry & (D | A | U) == 0 && level > 0 {
                true => Ok(Entry::Table(address)),
                false => Err("a valid entry without rights, which points to a table"),
            };
        }
        if entry & (R | W) == W {
            return Err("W without R is reserved");
        }
        // Svade: an access faults if A is clear, and a store if D is clear.
        if entry & A == 0 || (entry & W != 0 && entry & D == 0) {
            return Err("A or D is clear");
        }
        let rights = Rights {
            read: entry & R != 0,
            write: entry & W != 0,
            execute: entry & X != 0,
            user: entry & U != 0,
            global: entry & G != 0,
            memory: Memory::Normal,
        };
        Ok(Entry::Page(address, rights))
    }
}
