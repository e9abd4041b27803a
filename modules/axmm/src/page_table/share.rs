//! Sharing tables with another page table, after a fork.
//!
//! ```text
//!   before the fork      parent  ──►  table of 2 MiB  ──►  pages, writable
//!
//!   after it             parent  ┄┄►  table of 2 MiB  ──►  pages
//!                        child   ┄┄►       (2 owners)
//!
//!   a write in the       parent  ──►  its own copy    ──►  pages, read-only (2 owners)
//!   parent               child   ┄┄►  the old table   ──►
//!                                     (1 owner)
//! ```
//!
//! A dotted arrow is an entry that is not present for the hardware ([`EntryState::Shared`]). So no
//! TLB gets a translation through a shared table. That is why a fork does not visit the entries of
//! its pages, which keep the right to write. As long as a table has several owners, nothing in it
//! changes. Nothing changes below it either: the tables there have one owner each, and are shared
//! through the table above them.
//!
//! The first access below such an entry *opens* it ([`PageTable::open`]). If the table has other
//! owners, the entry gets a copy of it, in which each page is read-only and has one more owner, and
//! each table is shared. Otherwise the table is taken over: its pages become read-only in place, the
//! tables below it shared, and the entry leads to it again. An entry that was not present needs no
//! TLB flush.
//!
//! What is shared is the highest table of at most 1 GiB ([`TOP_SHARED`]) whose addresses all lie in
//! areas that own their frames, or in no area. On x86_64 and aarch64, the entry that leads to it could
//! stay present without the right to write. Riscv64 and loongarch64 have no such right in entries that
//! lead to tables.

use core::slice;

use axerrno::AxResult;
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingMetaData};

use super::entry::{
    Entry, EntryState, LEVEL_BITS, SHARES_TABLES, add_write, clear_all, clear_run, copy_read_only,
    copy_run_read_only, read, restore, take_rights, write_pages, write_shared, write_table,
};
use super::owners::FrameOwners;
use super::spare::SpareTables;
use super::table::{Page, PageTable};
use crate::addr::{Pages, block_around};

/// The highest level of entries that lead to shared tables. An entry of this level translates
/// 1 GiB.
#[cfg(feature = "objects")]
pub(super) const TOP_SHARED: usize = 2;

/// What is mapped at an address.
pub enum Lookup<'a> {
    /// No page is mapped there.
    Missing,
    /// The highest shared table on the path translates these addresses.
    Shared(Pages),
    /// A page is mapped there.
    Page(FoundPage<'a>),
}

/// A page that has been looked up, with its entry.
pub struct FoundPage<'a> {
    /// The page.
    pub page: Page,
    entry: &'a Entry,
    /// The level of the entry.
    level: usize,
}

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Copies entries of the lowest level without the right to write. Each frame gets another owner.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`. Then the entries of `to` own exactly the frames that have got another
    /// owner.
    pub(super) fn share_pages(from: &[Entry], to: &[Entry]) -> AxResult {
        let mut done = 0;
        while done < from.len() {
            let (frame, run) = copy_run_read_only::<E>(&from[done..], &to[done..]);
            if let Some(frame) = frame {
                H::share(frame, run).inspect_err(|_| clear_all(&to[done..done + run]))?;
            }
            done += run;
        }
        Ok(())
    }

    /// Returns what is mapped at `vaddr`, or what the highest shared table on the path to it
    /// translates. The caller keeps operations from freeing the tables on the path.
    #[inline(always)]
    pub fn lookup(&self, vaddr: VirtAddr) -> Lookup<'_> {
        let mut table = self.root;
        for level in (0..M::LEVELS).rev() {
            let entry = self.entry(table, vaddr, level);
            let block = || block_around(vaddr.as_usize(), Self::entry_size(level));
            match read::<E>(entry, level) {
                EntryState::Table(next) => table = next,
                EntryState::Empty => return Lookup::Missing,
                EntryState::Shared(_) => return Lookup::Shared(block()),
                EntryState::Page(paddr, flags) => {
                    let block = block();
                    let page = Page {
                        vaddr: VirtAddr::from_usize(block.start),
                        paddr,
                        size: Self::entry_size(level),
                        flags,
                    };
                    return Lookup::Page(FoundPage { page, entry, level });
                }
            }
        }
        Lookup::Missing
    }

    /// Returns the highest entry on the path to `vaddr` that leads to a shared table, and its
    /// level.
    pub(super) fn highest_shared(&self, vaddr: VirtAddr) -> Option<(&Entry, usize)> {
        if !SHARES_TABLES {
            return None;
        }
        let mut table = self.root;
        for level in (1..M::LEVELS).rev() {
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                EntryState::Table(next) => table = next,
                EntryState::Shared(_) => return Some((entry, level)),
                EntryState::Empty | EntryState::Page(..) => return None,
            }
        }
        None
    }

    /// Opens the highest shared table on the path to `vaddr`: the entry leads to a table that only
    /// this page table uses. Takes one of the `spare` tables if the shared table has other owners.
    /// The caller has locked all that the table translates, so no fault or operation of this address
    /// space uses the entry. Others only read the table.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is no spare table, or if a frame cannot have more owners.
    /// Then nothing has changed.
    pub fn open(&self, vaddr: VirtAddr, spare: &mut SpareTables<H>, poll: &dyn Fn()) -> AxResult {
        let Some((entry, level)) = self.highest_shared(vaddr) else {
            return Ok(());
        };
        let EntryState::Shared(table) = read::<E>(entry, level) else {
            return Ok(());
        };
        let own = match H::is_exclusive(table, 1) {
            true => self.take_over(table, level - 1),
            false => self.copy_shared(table, level - 1, spare, poll)?,
        };
        write_table::<E>(entry, own);
        Ok(())
    }

    /// Prepares a `table` that only this page table owns for an entry that is present: pages become
    /// read-only, and tables below become shared, because they may have other owners. Returns it.
    fn take_over(&self, table: PhysAddr, level: usize) -> PhysAddr {
        let entries = self.entries(table).as_slice();
        match level {
            0 => copy_read_only::<E>(entries, entries),
            _ => _ = Self::seal_entries(entries, level),
        }
        table
    }

    /// Seals entries of a `level` above the lowest: those that lead to tables are shared, and pages
    /// lose the right to write. Returns whether any has changed.
    pub(super) fn seal_entries(entries: &[Entry], level: usize) -> bool {
        let mut has_changed = false;
        for entry in entries {
            match read::<E>(entry, level) {
                EntryState::Table(below) => write_shared::<E>(entry, below),
                EntryState::Page(..) => {
                    let page = slice::from_ref(entry);
                    copy_read_only::<E>(page, page);
                }
                EntryState::Empty | EntryState::Shared(_) => continue,
            }
            has_changed = true;
        }
        has_changed
    }

    /// Returns a copy of a shared `table`, and drops this page table as an owner of it.
    fn copy_shared(
        &self,
        table: PhysAddr,
        level: usize,
        spare: &mut SpareTables<H>,
        poll: &dyn Fn(),
    ) -> AxResult<PhysAddr> {
        let copy = spare.take()?;
        let [from, to] = [table, copy].map(|table| self.entries(table).as_slice());
        let copied = match level {
            0 => Self::share_pages(from, to),
            _ => Self::share_entries(from, to, level, poll),
        };
        poll();
        if let Err(error) = copied {
            self.release_contents(copy, level, poll);
            H::dealloc_frame(copy);
            return Err(error);
        }
        self.release_shared(table, level, poll);
        Ok(copy)
    }

    /// Copies entries of a `level` above the lowest. Each table and each page gets another owner.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`. Then `to` has the entries of what has got another owner.
    pub(super) fn share_entries(
        from: &[Entry],
        to: &[Entry],
        level: usize,
        poll: &dyn Fn(),
    ) -> AxResult {
        for (from, to) in from.iter().zip(to) {
            match read::<E>(from, level) {
                EntryState::Empty => {}
                EntryState::Page(frame, _) => {
                    H::share(frame, 1 << (LEVEL_BITS * level))?;
                    copy_read_only::<E>(slice::from_ref(from), slice::from_ref(to));
                    poll();
                }
                EntryState::Table(table) | EntryState::Shared(table) => {
                    H::share_table(table)?;
                    write_shared::<E>(to, table);
                }
            }
        }
        poll();
        Ok(())
    }

    /// Drops this page table's share of a `table` of `level`. No entry of it leads there any more.
    /// If it was the last share, frees the table and all that it owns. No TLB holds a translation
    /// to it, because the entry was not present.
    pub(super) fn release_shared(&self, table: PhysAddr, level: usize, poll: &dyn Fn()) {
        if H::release_table(table) {
            self.release_contents(table, level, poll);
            H::dealloc_frame(table);
        }
    }

    /// Drops one owner of each page and each table to which the entries of `table` lead.
    fn release_contents(&self, table: PhysAddr, level: usize, poll: &dyn Fn()) {
        let mut entries = self.entries(table).as_slice();
        while level == 0 && !entries.is_empty() {
            let (frame, count) = clear_run::<E>(entries);
            entries = &entries[count..];
            if let Some(frame) = frame {
                H::release_pages(frame, count);
            }
        }
        for entry in entries {
            match read::<E>(entry, level) {
                EntryState::Empty => {}
                EntryState::Page(paddr, _) => H::release_pages(paddr, 1 << (LEVEL_BITS * level)),
                EntryState::Table(below) | EntryState::Shared(below) => {
                    self.release_shared(below, level - 1, poll);
                }
            }
        }
        poll();
    }

    /// Gives a page, whose frame has no other owner, the right to write. Returns `false` if the entry
    /// no longer leads to the page: another hart has resolved the same fault.
    pub fn add_write(found: &FoundPage<'_>) -> bool {
        add_write::<E>(found.entry, found.level, found.page.paddr)
    }

    /// Returns whether `page` has no other owner, so that it can be written in place.
    #[inline(always)]
    pub fn is_exclusive(page: &Page) -> bool {
        match page.size {
            PAGE_SIZE_4K => H::is_exclusive(page.paddr, 1),
            size => H::is_exclusive(page.paddr, size / PAGE_SIZE_4K),
        }
    }

    /// Replaces the frame of a small page by `copy`, and gives it the rights `flags`. In between,
    /// the page has no rights and `flush` runs, so that no hart reads the old frame once another
    /// has written to the new one (Arm Architecture Reference Manual, D8.16.1 "break-before-make").
    /// Meanwhile the entry keeps the old address: no fault takes the page for a missing one.
    ///
    /// Returns whether the page has been replaced. If not, another hart has changed it meanwhile, or
    /// `flush` has returned `false`. Then nothing has changed.
    pub fn replace(
        &self,
        found: &FoundPage<'_>,
        copy: PhysAddr,
        flags: MappingFlags,
        flush: impl FnOnce(Pages) -> bool,
    ) -> bool {
        debug_assert_eq!(found.level, 0);
        let Some(before) = take_rights::<E>(found.entry, found.page.paddr) else {
            return false;
        };
        let start = found.page.vaddr.as_usize();
        let is_flushed = flush(start..start + PAGE_SIZE_4K);
        match is_flushed {
            true => write_pages::<E>(slice::from_ref(found.entry), 0, copy, flags, self.mark),
            false => restore(found.entry, before),
        }
        is_flushed
    }
}
