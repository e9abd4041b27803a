//! Forking: sharing tables with the page table of a child ([`share`](super::share)).

use core::slice;

use axerrno::AxResult;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingMetaData};

use super::entry::{Entry, EntryState, copy_read_only, count_empty, read, try_add_table};
use super::flusher::Flusher;
use super::owners::FrameOwners;
use super::share::TOP_SHARED;
use super::table::PageTable;
use crate::addr::{Pages, first_part};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Makes `child` map what is mapped in `pages`: through shared tables, and single pages without
    /// the right to write. `child` maps nothing there, and no hart uses it. The entry of each page in
    /// `pages` owns its frame. The caller has locked `pages`, and [seals](Self::seal) them next.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`. What was shared until then stays in `child`. Here nothing has changed.
    pub fn share_with(&self, child: &Self, pages: Pages, poll: &dyn Fn()) -> AxResult {
        self.share_in([self.root, child.root], child, Self::TOP, pages, poll)
    }

    /// Shares what is mapped in `pages` below the first of two tables of one `level` with the
    /// second, which is a table of `child`.
    fn share_in(
        &self,
        [from, to]: [PhysAddr; 2],
        child: &Self,
        level: usize,
        pages: Pages,
        poll: &dyn Fn(),
    ) -> AxResult {
        if level == 0 {
            let [from, to] = [from, to].map(|table| self.entries_of(table, &pages, 0));
            return Self::share_pages(from, to);
        }
        let size = Self::entry_size(level);
        let mut left = pages;
        while !left.is_empty() {
            let part = first_part(left.clone(), size);
            if level <= TOP_SHARED && part.len() == size {
                let whole = left.start..left.end & !(size - 1);
                let [from, to] = [from, to].map(|table| self.entries_of(table, &whole, level));
                Self::share_entries(from, to, level, poll)?;
                left.start = whole.end;
                continue;
            }
            left.start = part.end;
            let vaddr = VirtAddr::from_usize(part.start);
            let entries = [from, to].map(|table| self.entry(table, vaddr, level));
            match read::<E>(entries[0], level) {
                EntryState::Empty => {
                    left.start += size * count_empty(self.entries_of(from, &left, level));
                }
                EntryState::Page(..) => {
                    // Not reached: a large page is of level `TOP_SHARED` at most, and none lies
                    // across an end of an area. So the step above has shared it.
                    debug_assert_eq!(
                        part.len(),
                        size,
                        "a large page lies across an end of `pages`"
                    );
                    let [from, to] = entries.map(slice::from_ref);
                    Self::share_entries(from, to, level, poll)?;
                }
                // `child` gets no table that would be empty.
                EntryState::Table(below) | EntryState::Shared(below)
                    if !self.maps_any(below, level - 1, part.clone()) => {}
                EntryState::Table(below) | EntryState::Shared(below) => {
                    let below = [below, child.table_at(entries[1], level)?];
                    self.share_in(below, child, level - 1, part, poll)?;
                    poll();
                }
            }
        }
        Ok(())
    }

    /// Returns whether any page of `pages` is mapped below `table`, a table of `level`.
    fn maps_any(&self, table: PhysAddr, level: usize, pages: Pages) -> bool {
        if level == 0 {
            let entries = self.entries_of(table, &pages, 0);
            return count_empty(entries) < entries.len();
        }
        let size = Self::entry_size(level);
        let mut left = pages;
        while !left.is_empty() {
            let part = first_part(left.clone(), size);
            left.start = part.end;
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                EntryState::Empty => {
                    left.start += size * count_empty(self.entries_of(table, &left, level));
                }
                EntryState::Page(..) => return true,
                EntryState::Table(below) | EntryState::Shared(below) => {
                    if self.maps_any(below, level - 1, part) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Returns the table to which `entry` of this page table leads, which no hart uses yet. Makes the
    /// table if there is none.
    fn table_at(&self, entry: &Entry, level: usize) -> AxResult<PhysAddr> {
        if let EntryState::Table(table) = read::<E>(entry, level) {
            return Ok(table);
        }
        let table = Self::new_table()?;
        // The entry is still empty, because no other hart uses this page table.
        try_add_table::<E>(entry, table);
        Ok(table)
    }

    /// Makes what has been [shared](Self::share_with) in `pages` immutable: entries that lead to
    /// shared tables are not present any more, and pages below other tables lose the right to write.
    /// Until `flusher` has flushed, harts may still write to these pages, and `child` sees that.
    pub fn seal(&self, pages: Pages, flusher: &mut impl Flusher) {
        self.seal_in(self.root, Self::TOP, pages, flusher);
    }

    fn seal_in(&self, table: PhysAddr, level: usize, pages: Pages, flusher: &mut impl Flusher) {
        if level == 0 {
            let entries = self.entries_of(table, &pages, 0);
            if count_empty(entries) < entries.len() {
                copy_read_only::<E>(entries, entries);
                flusher.changed(pages);
            }
            return;
        }
        let size = Self::entry_size(level);
        let mut left = pages;
        while !left.is_empty() {
            let part = first_part(left.clone(), size);
            if level <= TOP_SHARED && part.len() == size {
                let whole = left.start..left.end & !(size - 1);
                left.start = whole.end;
                if Self::seal_entries(self.entries_of(table, &whole, level), level) {
                    flusher.changed_tables();
                }
                continue;
            }
            left.start = part.end;
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                EntryState::Table(below) => self.seal_in(below, level - 1, part, flusher),
                EntryState::Page(..) => {
                    Self::seal_entries(slice::from_ref(entry), level);
                    flusher.changed(part);
                }
                EntryState::Empty | EntryState::Shared(_) => {}
            }
        }
    }
}
