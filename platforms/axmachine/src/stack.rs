//! Maps harts' stacks in a boot page table, at the addresses that
//! [`hart_stack`](axconfig::hart_stack) returns.
//!
//! ```text
//!   root ─► … one table per level ─► one table for each hart:  | unmapped   | 64 pages |
//!                                                                guard zone   stack
//! ```
//!
//! The tables above those of the harts belong to the platform, whose entry code links them.

use core::ptr;

use axconfig::{HART_STACK_SLOT, HART_STACKS, PAGE_SIZE, STACK_SIZE};

use crate::phys_to_virt;

/// A page table of any level: 512 entries.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct BootTable(pub [u64; 512]);

impl BootTable {
    /// A table that maps nothing.
    pub const EMPTY: Self = Self([0; 512]);

    /// Returns the index of the entry that leads to the first hart's stack, in a table whose
    /// entries map `1 << shift` bytes each. From 1 GiB on (`shift` of 30), the entry leads to
    /// the stacks of all harts.
    pub const fn index_of_stacks(shift: u32) -> usize {
        HART_STACKS >> shift & 511
    }
}

/// The index of the first hart's table in the table above.
const FIRST_TABLE: usize = BootTable::index_of_stacks(HART_STACK_SLOT.trailing_zeros());

/// The index of the stack's lowest page in a hart's table.
const FIRST_PAGE: usize = (HART_STACK_SLOT - STACK_SIZE) / PAGE_SIZE;

/// The memory of a hart's stack, and of the page table that maps it.
#[derive(Debug)]
pub struct StackMemory {
    number: usize,
    stack: usize,
    table: usize,
}

impl StackMemory {
    /// Makes `STACK_SIZE` bytes at the physical address `stack` the memory of hart `number`'s
    /// stack, and the page at the physical address `table` the memory of its page table.
    ///
    /// # Safety
    ///
    /// Both must be in the linear mapping, and the caller must not use them again. `number`
    /// must be less than `MAX_HARTS`. No hart may run on the stack of hart `number` yet.
    pub const unsafe fn new(number: usize, stack: usize, table: usize) -> Self {
        Self {
            number,
            stack,
            table,
        }
    }

    /// Maps the stack: fills the hart's table, and links it in `above`. `to_page` and
    /// `to_table` turn a physical address into the entry of a page and of a table.
    ///
    /// # Safety
    ///
    /// `above` must be the boot page table's table one level above the harts' tables. No
    /// other code may access it during the call.
    #[inline(always)]
    pub unsafe fn map(
        self,
        above: *mut BootTable,
        to_page: impl Fn(usize) -> u64,
        to_table: impl Fn(usize) -> u64,
    ) {
        let table: *mut BootTable = ptr::with_exposed_provenance_mut(phys_to_virt(self.table));
        // SAFETY: `new` was promised the page of the table, and the caller promises that
        // `above` is a table. Both have 512 entries. The entries of the 64 harts are the last
        // of `above`, and those of the stack's pages are the last of the hart's table.
        unsafe {
            table.write(BootTable::EMPTY);
            let pages = table.cast::<u64>().add(FIRST_PAGE);
            for page in 0..STACK_SIZE / PAGE_SIZE {
                pages
                    .add(page)
                    .write(to_page(self.stack + page * PAGE_SIZE));
            }
            let entry = above.cast::<u64>().add(FIRST_TABLE + self.number);
            entry.write(to_table(self.table));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;

    use axconfig::{PHYS_VIRT_OFFSET, hart_stack};

    use super::*;

    /// Returns a table of the process, and the physical address that `phys_to_virt` would
    /// translate to it.
    fn table() -> (*mut BootTable, usize) {
        let table = Box::into_raw(Box::new(BootTable([7; 512])));
        (
            table,
            table.expose_provenance().wrapping_sub(PHYS_VIRT_OFFSET),
        )
    }

    #[test]
    fn a_stack_is_mapped_and_its_guard_zone_is_not() {
        let (above, _) = table();
        for (number, stack) in [(0, 0x4000_0000), (63, 0x5000_0000)] {
            let (own, paddr) = table();
            // SAFETY: the test has just allocated both tables and is their only user.
            let (above, own) = unsafe {
                let memory = StackMemory::new(number, stack, paddr);
                memory.map(above, |paddr| paddr as u64 | 2, |paddr| paddr as u64 | 1);
                (&(*above).0, &(*own).0)
            };
            let range = hart_stack(number);
            assert_eq!(above[range.start >> 21 & 511], paddr as u64 | 1);
            let page = |addr: usize| own[addr >> 12 & 511];
            assert_eq!(page(range.start), stack as u64 | 2);
            let last = stack + STACK_SIZE - PAGE_SIZE;
            assert_eq!(page(range.end - 1), last as u64 | 2);
            assert_eq!(page(range.start - 1), 0);
            assert_eq!(page(range.end - HART_STACK_SLOT), 0);
        }
    }
}
