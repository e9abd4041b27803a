//! Harts' stacks in a boot page table, at the addresses that
//! [`hart_stack`](axconfig::hart_stack) gives them.
//!
//! ```text
//!   root ─► …, a table a level ─► one table for each hart:  | nothing | 64 pages |
//!                                                            guard zone   stack
//! ```
//!
//! The tables above those of the harts are the platform's, whose entry code links them.

use core::ptr;

use axconfig::{HART_STACK_SLOT, HART_STACKS, PAGE_SIZE, STACK_SIZE};

use crate::phys_to_virt;

/// A page table of any level.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct BootTable(pub [u64; 512]);

impl BootTable {
    /// A table that maps nothing.
    pub const EMPTY: Self = Self([0; 512]);

    /// Which entry of a table leads to harts' stacks. The table's entries have
    /// `1 << shift` bytes each, and all stacks lie in one entry.
    pub const fn index_of_stacks(shift: u32) -> usize {
        HART_STACKS >> shift & 511
    }
}

/// Which entry of the table above leads to the first hart's table.
const FIRST_TABLE: usize = BootTable::index_of_stacks(HART_STACK_SLOT.trailing_zeros());

/// Which entry of a hart's table is that of the stack's first page.
const FIRST_PAGE: usize = (HART_STACK_SLOT - STACK_SIZE) / PAGE_SIZE;

/// The memory of a hart's stack, and a page for the table that maps it.
#[derive(Debug)]
pub struct StackMemory {
    number: usize,
    stack: usize,
    table: usize,
}

impl StackMemory {
    /// Hart `number`'s: `STACK_SIZE` bytes from the physical address `stack` on, and the
    /// page at the physical address `table`.
    ///
    /// # Safety
    ///
    /// Both are in the linear mapping and are given away for good. The number is less
    /// than `MAX_HARTS`, and no hart runs on the stack of its slot yet.
    pub const unsafe fn new(number: usize, stack: usize, table: usize) -> Self {
        Self {
            number,
            stack,
            table,
        }
    }

    /// Maps the stack: makes the hart's table, and the entry of `above` that leads to it.
    /// `to_page` and `to_table` make entries from physical addresses.
    ///
    /// # Safety
    ///
    /// `above` is the boot page table's last table but one for harts' stacks, and nothing
    /// else in the kernel uses it meanwhile.
    #[inline(always)]
    pub unsafe fn map(
        self,
        above: *mut BootTable,
        to_page: impl Fn(usize) -> u64,
        to_table: impl Fn(usize) -> u64,
    ) {
        let table: *mut BootTable = ptr::with_exposed_provenance_mut(phys_to_virt(self.table));
        // SAFETY: the page is the table's (`new`), and `above` is a table, by the caller's
        // promise. Both have 512 entries: those of the 64 slots, and of the stack's pages,
        // are the last.
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

    /// The tests' tables lie somewhere in the process.
    fn table() -> (*mut BootTable, usize) {
        let table = Box::into_raw(Box::new(BootTable([7; 512])));
        (
            table,
            table.expose_provenance().wrapping_sub(PHYS_VIRT_OFFSET),
        )
    }

    #[test]
    fn a_stack_is_mapped_and_what_lies_below_is_not() {
        let (above, _) = table();
        for (number, stack) in [(0, 0x4000_0000), (63, 0x5000_0000)] {
            let (own, paddr) = table();
            // SAFETY: the tables are the test's own.
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
