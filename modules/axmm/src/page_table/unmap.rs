//! Unmapping, and freeing the tables that become empty by it.

use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingMetaData};

use super::entry::{EntryState, clear, clear_run, count_empty, read, write_pages};
use super::flusher::Flusher;
use super::owners::FrameOwners;
use super::table::{PageTable, SharedRoot};
use crate::addr::{Pages, block_around, first_part};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Unmaps all pages in `pages`, and reports them to `flusher`. No page lies across an end
    /// of the range ([`split_edges`](Self::split_edges)).
    pub fn unmap_whole_pages(&self, pages: Pages, flusher: &mut impl Flusher) {
        if !self.is_unpopulated(&pages) {
            self.clear_in(self.root, Self::TOP, pages, flusher);
        }
    }

    /// Returns whether one empty entry translates all of `pages`. If so, no page is mapped there.
    /// `false` does not mean that a page is mapped: `pages` may also lie under several empty entries.
    pub fn is_unpopulated(&self, pages: &Pages) -> bool {
        let mut table = self.root;
        for level in (0..M::LEVELS).rev() {
            // Whether the first and the last address have different entries in this table.
            if (pages.start ^ (pages.end - 1)) >= Self::entry_size(level) {
                return false;
            }
            let entry = self.entry(table, VirtAddr::from_usize(pages.start), level);
            match read::<E>(entry, level) {
                EntryState::Empty => return true,
                EntryState::Table(next) => table = next,
                EntryState::Shared(_) | EntryState::Page(..) => return false,
            }
        }
        false
    }

    /// Clears all entries of `pages` in a table of `level`. No page lies across an end of the
    /// range. Returns whether the table may have become empty.
    pub(super) fn clear_in(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        flusher: &mut impl Flusher,
    ) -> bool {
        if level == 0 {
            return self.clear_leaf(table, pages, flusher);
        }
        let size = Self::entry_size(level);
        let is_whole_table = pages.len() == Self::entry_size(level + 1);
        let mut has_cleared = false;
        let mut left = pages;
        while !left.is_empty() {
            let part = first_part(left.clone(), size);
            left.start = part.end;
            let vaddr = VirtAddr::from_usize(part.start);
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                EntryState::Empty => {
                    left.start += size * count_empty(self.entries_of(table, &left, level));
                }
                EntryState::Page(paddr, _) => {
                    clear(entry);
                    has_cleared = true;
                    if !flusher.unmapped(part.clone(), paddr) {
                        let count = part.len() / PAGE_SIZE_4K;
                        // An entry of a large page that is not present would look like that of a
                        // table.
                        flusher.flush_now(part);
                        H::release_pages(paddr, count);
                    }
                }
                EntryState::Shared(next) => {
                    debug_assert_eq!(part.len(), size, "a shared table at an end is opened");
                    clear(entry);
                    has_cleared = true;
                    self.release_shared(next, level - 1, &|| flusher.poll());
                }
                EntryState::Table(next) => {
                    let is_all_of_next = part.len() == size;
                    if self.clear_in(next, level - 1, part, flusher)
                        && let Some(_irqs) = self.disable_irqs_if_freeable(level, vaddr, flusher)
                        && (is_all_of_next && !flusher.has_left_entries() || self.is_empty(next))
                    {
                        clear(entry);
                        has_cleared = true;
                        flusher.detached_table(next);
                    }
                }
            }
        }
        is_whole_table || has_cleared
    }

    /// Clears all entries of `pages` in a table of the lowest level. Most of the time of an
    /// unmap is spent in this loop, so it has few instructions. Returns whether the table may
    /// have become empty.
    fn clear_leaf(&self, table: PhysAddr, pages: Pages, flusher: &mut impl Flusher) -> bool {
        let is_whole_table = pages.len() == Self::entry_size(1);
        let mut entries = self.entries_of(table, &pages, 0);
        let mut at = pages.start;
        let mut has_cleared = false;
        while !entries.is_empty() {
            let (frame, count) = clear_run::<E>(entries);
            let (done, rest) = entries.split_at(count);
            entries = rest;
            let run = at..at + count * PAGE_SIZE_4K;
            at = run.end;
            if let Some(frame) = frame {
                match flusher.unmapped(run, frame) {
                    true => has_cleared = true,
                    false => write_pages::<E>(done, 0, frame, MappingFlags::empty(), 0),
                }
            }
        }
        is_whole_table || has_cleared
    }

    /// Looks at the table to which the entry of `level` for `vaddr` leads. If the operation may
    /// free that table, disables interrupts: if the table is empty, it stays empty while the
    /// returned guard exists. Otherwise returns `None`.
    fn disable_irqs_if_freeable<F: Flusher>(
        &self,
        level: usize,
        vaddr: VirtAddr,
        flusher: &F,
    ) -> Option<F::IrqGuard> {
        let size = Self::entry_size(level);
        let first = vaddr.as_usize() & !(size - 1);
        match self.keeps_table(level, vaddr) {
            true => None,
            false => flusher.disable_irqs_if_exclusive(first, first | (size - 1)),
        }
    }

    /// Returns whether the table to which the entry of `level` for `vaddr` leads stays when it is
    /// empty.
    fn keeps_table(&self, level: usize, vaddr: VirtAddr) -> bool {
        let is_kept = |shared: &SharedRoot| shared.kept_tables.contains(&vaddr.as_usize());
        level == Self::TOP && (self.is_lent() || self.shared.get().is_some_and(is_kept))
    }

    /// Frees the empty tables on the path to `vaddr`, as far as the operation may free them.
    pub fn free_empty_tables(&self, vaddr: VirtAddr, flusher: &mut impl Flusher) {
        self.free_empty_in(self.root, Self::TOP, vaddr, flusher);
    }

    /// Looks at the table to which the entry of `level` for `vaddr` leads. If it is empty and does
    /// not have to stay, returns the addresses that it translates.
    pub fn empty_table_at(&self, vaddr: VirtAddr, level: usize) -> Option<Pages> {
        let mut table = self.root;
        for above in (level..M::LEVELS).rev() {
            let EntryState::Table(next) = read::<E>(self.entry(table, vaddr, above), above) else {
                return None;
            };
            table = next;
        }
        let is_freeable = !self.keeps_table(level, vaddr) && self.is_empty(table);
        is_freeable.then(|| block_around(vaddr.as_usize(), Self::entry_size(level)))
    }

    /// Frees the empty tables on the path from a `table` of `level` down to `vaddr`, but not
    /// `table` itself.
    fn free_empty_in(
        &self,
        table: PhysAddr,
        level: usize,
        vaddr: VirtAddr,
        flusher: &mut impl Flusher,
    ) {
        let entry = self.entry(table, vaddr, level);
        let EntryState::Table(next) = read::<E>(entry, level) else {
            return;
        };
        if level > 1 {
            self.free_empty_in(next, level - 1, vaddr, flusher);
        }
        if let Some(_irqs) = self.disable_irqs_if_freeable(level, vaddr, flusher)
            && self.is_empty(next)
        {
            clear(entry);
            flusher.detached_table(next);
        }
    }
}
