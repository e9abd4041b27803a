//! The kernel half of user programs' page tables. Each root of a user program has copies of the
//! entries of the kernel's root, so the kernel's mappings are in every page table.
//!
//! ```text
//!   kernel's root   … │ k0 │ k1 │ k2 │ …       user's root   u0 │ … │ k0 │ k1 │ k2 │
//!                       │    └──────────────┐                              │
//!                       └─► table of the    └─► table, still empty ◄───────┘
//!                           linear mapping
//! ```
//!
//! The entries of the root are copied once, and never change after that
//! ([`share_root`](PageTable::share_root)). Where mappings still change, each entry leads to a
//! table that stays. So a later mapping in such a table is in all page tables at once.

use core::sync::atomic::Ordering;

use axerrno::AxResult;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingMetaData};

use super::entry::{EntryState, copy_entries, read, try_add_table};
use super::flusher::Flusher;
use super::owners::FrameOwners;
use super::spare::SpareTables;
use super::table::{PageTable, SharedRoot};
use crate::addr::{Pages, parts};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Makes every entry of the root that translates a part of `pages` lead to a table.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there are not enough frames for the tables. Then nothing has
    /// changed.
    pub fn populate_root(&self, pages: Pages, flusher: &mut impl Flusher) -> AxResult {
        let entries = parts(pages, Self::entry_size(Self::TOP));
        let addrs = entries.map(|part| VirtAddr::from_usize(part.start));
        let missing = addrs
            .clone()
            .filter(|addr| self.root_table(*addr).is_none());
        let mut spare = SpareTables::<H>::allocate(missing.count())?;
        for addr in addrs {
            let entry = self.entry(self.root, addr, Self::TOP);
            match (read::<E>(entry, Self::TOP), self.query(addr)) {
                (EntryState::Page(..), Some(page)) => self.split(page, &mut spare, flusher)?,
                (EntryState::Empty, _) => {
                    let table = spare.take()?;
                    if !try_add_table::<E>(entry, table) {
                        H::dealloc_frame(table);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the entries of the root that translate a part of `pages` stay as they are, so that
    /// other roots can have copies of them.
    ///
    /// Below `fixed_end` the caller changes no mapping any more, so each entry stays in any case.
    /// From `fixed_end` on, mappings still change. There the caller has made each entry lead to a
    /// table ([`populate_root`](Self::populate_root)), which is kept even when it is empty.
    pub fn share_root(&self, pages: Pages, fixed_end: usize) {
        let kept_tables = pages.start.max(fixed_end)..pages.end.max(fixed_end);
        self.shared.call_once(|| SharedRoot {
            fixed: pages.start..self.end_of_used_entries(pages.start..kept_tables.start),
            kept_tables,
        });
    }

    /// Returns whether [`share_root`](Self::share_root) has been called.
    pub fn is_shared(&self) -> bool {
        self.shared.is_completed()
    }

    /// Returns the end of the addresses that the last used entry of the root for `pages`
    /// translates. If no entry is used, returns the start of `pages`.
    fn end_of_used_entries(&self, pages: Pages) -> usize {
        let is_used = |part: &Pages| {
            let entry = self.entry(self.root, VirtAddr::from_usize(part.start), Self::TOP);
            !matches!(read::<E>(entry, Self::TOP), EntryState::Empty)
        };
        let start = pages.start;
        let last = parts(pages, Self::entry_size(Self::TOP))
            .filter(is_used)
            .last();
        last.map_or(start, |part| part.end)
    }

    /// Returns the table that the entry of the root for `vaddr` leads to.
    fn root_table(&self, vaddr: VirtAddr) -> Option<PhysAddr> {
        match read::<E>(self.entry(self.root, vaddr, Self::TOP), Self::TOP) {
            EntryState::Table(table) => Some(table),
            EntryState::Empty | EntryState::Shared(_) | EntryState::Page(..) => None,
        }
    }

    /// Copies the entries that translate `pages`, which are all addresses of `other`, from its
    /// root into this root, where they are empty. If `other` is [shared](Self::share_root), leaves
    /// out the entries that stay empty for ever.
    ///
    /// The tables to which the copies lead belong to `other`. The caller never maps, changes or
    /// unmaps anything in `pages` through this page table.
    pub fn copy_root_entries(&mut self, other: &Self, pages: Pages) {
        match other.shared.get() {
            Some(shared) => {
                self.copy_entries_of(other, &shared.fixed);
                self.copy_entries_of(other, &shared.kept_tables);
                self.lender = other.root;
            }
            None => self.copy_entries_of(other, &pages),
        }
        self.borrowed = pages;
        // Relaxed: `is_lent` says why that is enough.
        other.lent.store(true, Ordering::Relaxed);
    }

    /// Copies the entries that `other` has copies of, so that the same mappings of a third page
    /// table are visible here.
    pub fn copy_borrowed_entries(&mut self, other: &Self) {
        self.copy_entries_of(other, &other.borrowed);
        self.borrowed = other.borrowed.clone();
        self.lender = other.lender;
    }

    /// Returns whether this root has copies of the same entries of another root as `other`.
    #[cfg(feature = "objects")]
    pub fn borrows_as(&self, other: &Self) -> bool {
        self.borrowed == other.borrowed && self.lender == other.lender
    }

    /// Returns whether this root has copies of another root's entries.
    pub fn borrows(&self) -> bool {
        !self.borrowed.is_empty()
    }

    /// Returns whether this root has copies of the entries of `root`, made after that page table
    /// was [shared](Self::share_root). Then all that it translates, now or later, is translated
    /// here, too.
    pub fn borrows_all_of(&self, root: PhysAddr) -> bool {
        self.lender == root
    }

    fn copy_entries_of(&mut self, other: &Self, pages: &Pages) {
        if pages.is_empty() {
            return;
        }
        // `pages` lies in one half of the addresses, whose entries are contiguous in every root.
        let index = |vaddr| Self::index(vaddr, Self::TOP);
        let indexes = index(pages.start)..index(pages.end - 1) + 1;
        let from = &other.entries(other.root)[indexes.clone()];
        copy_entries(from, &self.entries(self.root)[indexes]);
    }

    /// Returns whether one entry of the root translates addresses of both ranges.
    pub fn have_common_root_entry(&self, one: &Pages, other: &Pages) -> bool {
        let size = Self::entry_size(Self::TOP);
        one.start / size <= (other.end - 1) / size && other.start / size <= (one.end - 1) / size
    }
}
