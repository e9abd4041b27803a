//! Changing the rights of pages.

use core::slice;

use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingMetaData};

use super::entry::{
    Entry, EntryState, clear, protect_pages, protect_shared_pages, read, rights_read_back,
    write_pages,
};
use super::flusher::Flusher;
use super::owners::FrameOwners;
use super::table::PageTable;
use crate::addr::{Pages, parts};

/// The rights that pages get.
#[derive(Clone, Copy, Debug)]
pub struct Protection {
    /// The new rights and the new kind of memory.
    pub flags: MappingFlags,
    /// Whether some pages of 4 KiB may now be another kind of memory. They are made not present,
    /// and flushed, before they become the new kind. Large pages are few, and are looked at in
    /// any case.
    pub changes_memory_kind: bool,
    /// Whether the pages may be shared with other page tables. Then a page gets the right to write
    /// only if it has it already, or has no other owner.
    pub may_be_shared: bool,
}

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Changes the rights of all pages that are mapped in `pages`. No page lies across an end
    /// of the range ([`split_edges`](Self::split_edges)). If the pages get no rights, no large
    /// page is in the range ([`split_all`](Self::split_all)). Reports to `flusher` the parts
    /// of tables in which an entry has changed.
    pub fn protect_whole_pages(
        &self,
        pages: Pages,
        protection: Protection,
        flusher: &mut impl Flusher,
    ) {
        self.protect_in(self.root, Self::TOP, pages, protection, flusher);
    }

    fn protect_in(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        protection: Protection,
        flusher: &mut impl Flusher,
    ) {
        let size = Self::entry_size(level);
        if level == 0 {
            return self.protect_leaf(table, pages, protection, flusher);
        }
        let flags = protection.flags;
        for part in parts(pages, size) {
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                EntryState::Empty => {}
                EntryState::Table(next) => {
                    self.protect_in(next, level - 1, part, protection, flusher);
                }
                EntryState::Shared(_) => debug_assert!(false, "a shared table is opened first"),
                // The page has these rights already, as far as the format can express them.
                EntryState::Page(_, before) if before == rights_read_back::<E>(flags, level) => {}
                EntryState::Page(paddr, before) => {
                    let is_read_only = protection.may_be_shared
                        && !before.contains(MappingFlags::WRITE)
                        && !H::is_exclusive(paddr, part.len() / PAGE_SIZE_4K);
                    let flags = match is_read_only {
                        true => flags.difference(MappingFlags::WRITE),
                        false => flags,
                    };
                    if Self::differ_in_memory_kind(before, flags) {
                        // The caller has locked all of the page, so no page fault fills the entry.
                        clear(entry);
                        flusher.flush_now(part.clone());
                    }
                    write_pages::<E>(slice::from_ref(entry), level, paddr, flags, self.mark);
                    flusher.changed(part);
                }
            }
        }
    }

    /// Changes the rights of `pages`, all of which one table of the lowest level translates. If
    /// the kind of memory changes, the pages first lose all rights, and are flushed.
    #[inline(always)]
    fn protect_leaf(
        &self,
        table: PhysAddr,
        pages: Pages,
        protection: Protection,
        flusher: &mut impl Flusher,
    ) {
        let entries = self.entries_of(table, &pages, 0);
        let protect = |flags: MappingFlags| match protection.may_be_shared {
            true if flags.contains(MappingFlags::WRITE) => {
                protect_shared_pages::<E>(entries, flags, self.mark, |page| {
                    H::is_exclusive(page, 1)
                })
            }
            _ => protect_pages::<E>(entries, flags, self.mark),
        };
        let flags_before = |entry: &Entry| match read::<E>(entry, 0) {
            EntryState::Page(_, flags) => flags,
            EntryState::Empty | EntryState::Table(_) | EntryState::Shared(_) => {
                MappingFlags::empty()
            }
        };
        let changes_kind =
            |entry: &Entry| Self::differ_in_memory_kind(flags_before(entry), protection.flags);
        if protection.changes_memory_kind && entries.iter().any(changes_kind) {
            let has_changed = protect(MappingFlags::empty());
            if has_changed {
                flusher.flush_now(pages.clone());
            }
        }
        if protect(protection.flags) {
            flusher.changed(pages);
        }
    }
}
