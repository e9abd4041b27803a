//! Page tables that an operation empties. If all other addresses of a table are free, and no
//! other operation has locked or queued them, they are locked together with the operation's range.
//! Then the table is freed with the pages. Other tables are locked and freed one by one, once the
//! areas have changed.

use memory_addr::{VirtAddr, VirtAddrRange};

use super::write_guard::WriteGuard;
use crate::addr::{as_span, clip, va_range};
use crate::machine::Machine;
use crate::page_table::frames::PageTableOf;
#[cfg(feature = "objects")]
use crate::tlb::gather::TlbGather;

impl<M: Machine> WriteGuard<'_, M> {
    /// Widens `pages` by the free addresses around the operation's range that share page tables
    /// with it. Leaves out a table of which another operation has locked or queued some of these
    /// addresses.
    pub(super) fn with_tables(&self, pages: VirtAddrRange) -> VirtAddrRange {
        let shards = &self.space().shards;
        let shard = shards.range(shards.number_of(self.range().start.as_usize()));
        // The addresses around the range, with it, in which no other area lies.
        let gap = as_span(clip(self.free_around(self.range()), shard));
        let lock = self.range_lock();
        let is_uncontended = |start, end| lock.is_uncontended(self.hart(), va_range(start, end));
        let (mut start, mut end) = (pages.start.as_usize(), pages.end.as_usize());
        for level in 1..PageTableOf::<M>::LEVELS {
            // A table one level below translates `size` bytes. That of `start` begins at
            // `table_start`, and that of `end - 1` ends at `table_end`.
            let size = PageTableOf::<M>::entry_size(level);
            let table_start = start & !(size - 1);
            let table_end = ((end - 1) | (size - 1)).saturating_add(1);
            if table_start >= gap.start && is_uncontended(table_start, start) {
                start = table_start;
            }
            if table_end <= gap.end && is_uncontended(end, table_end) {
                end = table_end;
            }
        }
        va_range(start, end)
    }

    /// Frees the tables on the paths to both ends of the range that have become empty. Called
    /// when nothing is mapped in the range any more, which is still locked. A table stays if
    /// another operation has locked or queued addresses that it translates. That operation frees
    /// it if it unmaps something there. Otherwise a later one does, or the drop of the address
    /// space.
    ///
    /// On one hart all empty tables have been freed with the pages (`Unlocked::exclusive`).
    #[inline(always)]
    pub(super) fn free_tables(&mut self) {
        if !self.range_lock().is_one_hart() {
            while let Some((vaddr, range)) = self.empty_table() {
                self.free_tables_at(vaddr, range);
            }
        }
    }

    /// Takes the tables on the paths to both ends of the range that have become empty out of the
    /// page table, as [`free_tables`](Self::free_tables) does, and adds them to `gather`. So one
    /// flush is enough for the pages and the tables.
    ///
    /// A table stays if another operation has locked or queued addresses that it translates. That
    /// operation may end during the flush, and leave the table to this one. So the caller calls
    /// `free_tables` after the flush.
    #[cfg(feature = "objects")]
    pub(super) fn gather_tables(&mut self, gather: &mut TlbGather<'_, M>) {
        if !self.range_lock().is_one_hart() {
            while let Some((vaddr, range)) = self.empty_table() {
                self.lock_for_tables(range);
                self.unlocked(|unlocked| {
                    gather.set_exclusive(unlocked.exclusive());
                    unlocked.space().table.free_empty_tables(vaddr, gather);
                });
            }
        }
    }

    /// Finds an empty table on the path to an end of the range. Returns an address that it
    /// translates, and the range to lock before it is freed. No other operation frees the table,
    /// because the end is locked. Until that range is locked, a fault may still fill the table. So
    /// `free_empty_tables` frees it only if it is still empty.
    #[inline(never)]
    fn empty_table(&self) -> Option<(VirtAddr, VirtAddrRange)> {
        let (start, end) = (self.range().start, self.range().end);
        let last = VirtAddr::from_usize(end.as_usize() - 1);
        let table = &self.space().table;
        for level in 1..PageTableOf::<M>::LEVELS {
            for vaddr in [start, last] {
                let Some(translated) = table.empty_table_at(vaddr, level) else {
                    continue;
                };
                let low = translated.start.min(start.as_usize());
                let high = translated.end.max(end.as_usize());
                let range = va_range(low, high);
                if self.range_lock().is_uncontended(self.hart(), range) {
                    return Some((vaddr, range));
                }
            }
        }
        None
    }

    #[cold]
    fn free_tables_at(&mut self, vaddr: VirtAddr, range: VirtAddrRange) {
        self.lock_for_tables(range);
        self.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            unlocked.space().table.free_empty_tables(vaddr, &mut gather);
            gather.finish();
        });
    }

    /// Locks `range`, which holds the range of the operation and a table that is to be freed.
    fn lock_for_tables(&mut self, range: VirtAddrRange) {
        self.range_lock().lock(self.hart(), range);
        self.set_locked(range);
    }
}
