//! One entry of a page table, read and written in one piece.

use core::sync::atomic::{Ordering, fence};

use memory_addr::PhysAddr;
use page_table_multiarch::{GenericPTE, MappingFlags};

/// What an entry says.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// Nothing is mapped.
    Absent,
    /// It leads to a table of the next level.
    Table(PhysAddr),
    /// It maps a page of its level's size.
    Page(PhysAddr, MappingFlags),
}

/// Reads an entry of `level`; 0 is the lowest.
pub fn read<E: GenericPTE>(entry: *mut E, level: usize) -> Slot {
    // SAFETY: the walker derives `entry` from a table it owns; hardware may
    // read and set bits of it at the same time, so it is read in one piece.
    let value = unsafe { entry.read_volatile() };
    if value.is_unused() {
        Slot::Absent
    } else if level == 0 || value.is_huge() {
        let flags = match value.is_present() {
            true => value.flags(),
            false => MappingFlags::empty(),
        };
        Slot::Page(value.paddr(), flags)
    } else {
        Slot::Table(value.paddr())
    }
}

/// What [`read`] says of a page that was written with `flags`: not every format
/// has all of them.
pub fn readable<E: GenericPTE>(flags: MappingFlags, level: usize) -> MappingFlags {
    match flags.is_empty() {
        true => flags,
        false => E::new_page(PhysAddr::from_usize(0), flags, level > 0).flags(),
    }
}

/// Writes an entry of `level`.
pub fn write<E: GenericPTE>(entry: *mut E, level: usize, slot: Slot) {
    let value = match slot {
        Slot::Page(paddr, flags) if !flags.is_empty() => E::new_page(paddr, flags, level > 0),
        Slot::Table(table) => E::new_table(table),
        // Formats have no constructor for what is not present, so it is made
        // from one that is.
        Slot::Absent => cleared(),
        Slot::Page(paddr, _) => {
            let mut value: E = cleared();
            value.set_paddr(paddr);
            value
        }
    };
    // What the entry leads to, a zeroed frame or a filled table, is seen by
    // whoever sees the entry.
    fence(Ordering::Release);
    // SAFETY: as in `read`.
    unsafe { entry.write_volatile(value) };
}

fn cleared<E: GenericPTE>() -> E {
    let mut value = E::new_table(PhysAddr::from_usize(0));
    value.clear();
    value
}
