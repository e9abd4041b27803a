//! One table's upper entries in another: how the kernel's mappings are in every
//! user's page table.
//!
//! ```text
//!   kernel's root   … │ k0 │ k1 │ k2 │ …       user's root   u0 │ … │ k0 │ k1 │ k2 │
//!                       │    └──────────────┐                              │
//!                       └─► table of the    └─► table, empty as yet ◄──────┘
//!                           linear mapping
//! ```
//!
//! The entries of the root are copied once, and every one of them leads to a table
//! that stays ([`share_top`](PageTable::share_top)): what is mapped under it later
//! is in all page tables at once, and none of them is visited.

use core::sync::atomic::Ordering;

use axerrno::AxResult;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingHandler, PagingMetaData};

use super::change::{Pages, parts};
use super::entry::{Slot, add_table, copy, read};
use super::split::Spare;
use super::{ENTRIES, Gather, PageTable, Shared};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// The level of the root's entries.
    const TOP: usize = M::LEVELS - 1;

    /// Makes every entry of the root that translates some of `pages` lead to a table.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    pub fn make_top(&self, pages: Pages, gather: &mut impl Gather) -> AxResult {
        let tops = parts(pages, Self::entry_size(Self::TOP));
        let tops = tops.map(|part| VirtAddr::from_usize(part.start));
        let missing = tops.clone().filter(|top| self.table_at(*top).is_none());
        let mut spare = Spare::<H>::take(missing.count())?;
        for top in tops {
            let entry = self.entry(self.root, top, Self::TOP);
            match (read::<E>(entry, Self::TOP), self.query(top)) {
                (Slot::Page(..), Some(page)) => self.split(page, &mut spare, gather)?,
                (Slot::Absent, _) => {
                    let table = Self::cleared(spare.next()?);
                    if !add_table(entry, table) {
                        H::dealloc_frame(table);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the tables that entries of the root lead to stay, even when they are empty. All
    /// entries that translate some of `pages`, and whose mappings may change, lead to
    /// [one](Self::make_top). Below `fixed` no mapping changes, and entries stay as they are.
    pub fn share_top(&self, pages: Pages, fixed: usize) {
        let changing = pages.start.max(fixed)..pages.end.max(fixed);
        self.shared.call_once(|| Shared {
            settled: pages.start..self.last_in_use(pages.start..changing.start),
            kept: changing,
        });
    }

    /// Whether [`share_top`](Self::share_top) has been done.
    pub fn is_shared(&self) -> bool {
        self.shared.is_completed()
    }

    /// The end of what the last entry of the root translates that is in use in `pages`.
    fn last_in_use(&self, pages: Pages) -> usize {
        let in_use = |top: &Pages| {
            let entry = self.entry(self.root, VirtAddr::from_usize(top.start), Self::TOP);
            !matches!(read::<E>(entry, Self::TOP), Slot::Absent)
        };
        let start = pages.start;
        let last = parts(pages, Self::entry_size(Self::TOP))
            .filter(in_use)
            .last();
        last.map_or(start, |top| top.end)
    }

    /// The table that the entry of the root for `vaddr` leads to.
    fn table_at(&self, vaddr: VirtAddr) -> Option<PhysAddr> {
        match read::<E>(self.entry(self.root, vaddr, Self::TOP), Self::TOP) {
            Slot::Table(table) => Some(table),
            Slot::Absent | Slot::Page(..) => None,
        }
    }

    /// Copies the entries of the root of `other` that translate `pages`, where
    /// this table has none; of a table that is [shared](Self::share_top) those that can
    /// ever be in use. What they lead to stays the other's: nothing there is
    /// changed or freed by this one, and it must not be asked to.
    pub fn copy_top(&mut self, other: &Self, pages: Pages) {
        match other.shared.get() {
            Some(shared) => {
                self.copy_entries(other, &shared.settled);
                self.copy_entries(other, &shared.kept);
                self.lender = other.root;
            }
            None => self.copy_entries(other, &pages),
        }
        self.borrowed = pages;
        other.lent.store(true, Ordering::Relaxed);
    }

    /// Whether it has entries of another table's root.
    pub fn borrows(&self) -> bool {
        !self.borrowed.is_empty()
    }

    /// Whether all that the table with this root translates, now or later, is translated
    /// here, too.
    pub fn borrows_all_of(&self, root: PhysAddr) -> bool {
        self.lender == root
    }

    fn copy_entries(&mut self, other: &Self, pages: &Pages) {
        if pages.is_empty() {
            return;
        }
        let size = Self::entry_size(Self::TOP);
        let (first, last) = (pages.start / size, (pages.end - 1) / size);
        let vaddr = VirtAddr::from_usize(pages.start);
        let from = other.entry(other.root, vaddr, Self::TOP);
        let to = self.entry(self.root, vaddr, Self::TOP);
        // SAFETY: a root's entries for one half of the addresses lie in a row.
        unsafe { copy(from, to, last - first + 1) };
    }

    /// Whether an entry of the root translates addresses of both ranges.
    pub fn shares_top(&self, one: &Pages, other: &Pages) -> bool {
        let size = Self::entry_size(Self::TOP);
        one.start / size <= (other.end - 1) / size && other.start / size <= (one.end - 1) / size
    }

    /// Whether the table that an entry of `level` leads to stays when it is empty.
    pub(super) fn keeps(&self, level: usize, vaddr: VirtAddr) -> bool {
        let kept = |shared: &Shared| shared.kept.contains(&vaddr.as_usize());
        level == Self::TOP && (self.is_lent() || self.shared.get().is_some_and(kept))
    }

    /// Whether another table has entries of this one's root. Which, and for how long,
    /// is not known: what they lead to stays for good.
    fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }

    /// Frees the root, and the tables that are this one's own and nobody else's.
    pub(super) fn free_own_tables(&self) {
        if !self.is_lent() {
            self.free_tables_below_root();
        }
        H::dealloc_frame(self.root);
    }

    fn free_tables_below_root(&self) {
        let size = Self::entry_size(Self::TOP);
        let index = |vaddr: usize| vaddr / size % ENTRIES;
        let borrowed = match self.borrowed.is_empty() {
            true => 0..0,
            false => index(self.borrowed.start)..index(self.borrowed.end - 1) + 1,
        };
        for own in (0..ENTRIES).filter(|index| !borrowed.contains(index)) {
            let entry = self.entry(self.root, VirtAddr::from_usize(own * size), Self::TOP);
            if let Slot::Table(next) = read::<E>(entry, Self::TOP) {
                Self::free_tables(next, Self::TOP - 1);
            }
        }
    }
}
