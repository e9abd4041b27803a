//! Splitting large pages into tables of smaller pages, and opening shared tables, before a part of
//! what they translate changes. All frames for the tables are allocated before anything changes,
//! so a split happens as a whole or fails as a whole.

use core::ops::Range;

use axerrno::AxResult;
use memory_addr::{PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingMetaData};

use super::entry::{EntryState, clear, read, write_pages, write_table};
use super::flusher::Flusher;
use super::owners::FrameOwners;
use super::spare::SpareTables;
use super::table::{LARGEST_PAGE, Page, PageTable};
use crate::addr::{Pages, block_around, parts};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Makes both ends of `pages` boundaries between pages. A large page across an end becomes
    /// a table of smaller pages with the same frames and rights. A shared table is
    /// [opened](Self::open) if it translates addresses on both sides of an end.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there are not enough frames for the tables. Then nothing has
    /// changed.
    pub fn split_edges(&self, pages: &Pages, flusher: &mut impl Flusher) -> AxResult {
        let (start, end) = (pages.start, pages.end);
        let count =
            self.tables_to_split_at(start, None) + self.tables_to_split_at(end, Some(start));
        if count == 0 {
            return Ok(());
        }
        let mut spare = SpareTables::<H>::allocate(count)?;
        self.split_at(start, &mut spare, flusher)?;
        self.split_at(end, &mut spare, flusher)
    }

    /// Returns whether both ends of `pages` are boundaries between pages.
    pub fn has_split_edges(&self, pages: &Pages) -> bool {
        self.tables_to_split_at(pages.start, None) == 0
            && self.tables_to_split_at(pages.end, None) == 0
    }

    /// Returns how many tables are needed, at most, to make `addr` a boundary between pages. The
    /// tables for the address `counted`, if any, have been counted before. Those that both
    /// addresses need are not counted again.
    fn tables_to_split_at(&self, addr: usize, counted: Option<usize>) -> usize {
        // No page and no shared table lies across a multiple of the largest size.
        if addr.is_multiple_of(LARGEST_PAGE) {
            return 0;
        }
        // Whether the entry of this level needs a table.
        let needs_table = |level: &usize| {
            let size = Self::entry_size(*level);
            let is_cut_by = |at: usize| !at.is_multiple_of(size) && at / size == addr / size;
            is_cut_by(addr) && !counted.is_some_and(is_cut_by)
        };
        self.unsplit_levels(addr).filter(needs_table).count()
    }

    /// Looks for the highest entry on the path to `addr` that leads to a shared table or maps a
    /// large page. Returns the levels from that entry down to level 1. If the path ends before that
    /// in an empty entry, returns the levels above the empty entry.
    ///
    /// To make `addr` a boundary, a split needs at most one table for each of these levels. The
    /// range is empty if there is no such entry.
    fn unsplit_levels(&self, addr: usize) -> Range<usize> {
        let (mut table, mut highest) = (self.root, None);
        for level in (1..M::LEVELS).rev() {
            match read::<E>(self.entry(table, VirtAddr::from_usize(addr), level), level) {
                EntryState::Empty => return highest.map_or(0..0, |highest| level + 1..highest + 1),
                EntryState::Page(..) => return 1..highest.unwrap_or(level) + 1,
                EntryState::Table(next) => table = next,
                EntryState::Shared(next) => {
                    highest = highest.or(Some(level));
                    table = next;
                }
            }
        }
        highest.map_or(0..0, |highest| 1..highest + 1)
    }

    /// Returns the addresses that the highest shared table on the path to `addr` translates, or
    /// those of the large page there.
    #[inline]
    pub fn unsplit_block(&self, addr: usize) -> Option<Pages> {
        let highest = self.unsplit_levels(addr).next_back()?;
        Some(block_around(addr, Self::entry_size(highest)))
    }

    /// Opens shared tables and splits large pages that lie across `addr`, until `addr` is a
    /// boundary between pages.
    fn split_at(
        &self,
        addr: usize,
        spare: &mut SpareTables<H>,
        flusher: &mut impl Flusher,
    ) -> AxResult {
        let vaddr = VirtAddr::from_usize(addr);
        while let Some(block) = self.unsplit_block(addr)
            && block.start != addr
        {
            match (self.highest_shared(vaddr), self.query(vaddr)) {
                (None, Some(page)) => self.split(page, spare, flusher)?,
                _ => self.open(vaddr, spare, &|| flusher.poll())?,
            }
        }
        Ok(())
    }

    /// Opens all shared tables that translate a part of `pages`.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there are not enough frames for the tables. Then some may be open,
    /// and no page has changed.
    pub fn open_all(&self, pages: &Pages, poll: &dyn Fn()) -> AxResult {
        let mut addr = pages.start;
        while addr < pages.end {
            let vaddr = VirtAddr::from_usize(addr);
            match self.highest_shared(vaddr) {
                Some(_) => self.open(vaddr, &mut SpareTables::allocate(1)?, poll)?,
                None => addr = self.end_of_lowest_entry(addr),
            }
        }
        Ok(())
    }

    /// Splits all large pages of `pages`, where no table is shared, into the smallest pages. A large
    /// page without rights could not be told from a table, so this comes before all rights are taken
    /// away.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there are not enough frames for the tables. Then nothing has
    /// changed.
    pub fn split_all(&self, pages: &Pages, flusher: &mut impl Flusher) -> AxResult {
        let mut count = 0;
        self.for_each_large_page(pages, |_, page| {
            let inside = page.vaddr.as_usize().max(pages.start)
                ..(page.vaddr.as_usize() + page.size).min(pages.end);
            // A page of 1 GiB becomes a table of pages of 2 MiB, and each of these that lies in
            // `pages` becomes a table of its own.
            let sizes = (1..M::LEVELS).map(Self::entry_size);
            count += sizes
                .take_while(|size| *size <= page.size)
                .map(|size| parts(inside.clone(), size).count())
                .sum::<usize>();
            Ok(inside.end)
        })?;
        if count == 0 {
            return Ok(());
        }
        let mut spare = SpareTables::<H>::allocate(count)?;
        self.for_each_large_page(pages, |table, page| {
            table.split(page, &mut spare, flusher)?;
            // The smaller pages in its place may be large as well, so they are visited next.
            Ok(page.vaddr.as_usize().max(pages.start))
        })
    }

    /// Calls `f` for the large pages of `pages`. `f` returns the address to continue at.
    fn for_each_large_page(
        &self,
        pages: &Pages,
        mut f: impl FnMut(&Self, Page) -> AxResult<usize>,
    ) -> AxResult {
        let mut addr = pages.start;
        while addr < pages.end {
            addr = match self.query(VirtAddr::from_usize(addr)) {
                Some(page) if page.size > PAGE_SIZE_4K => f(self, page)?,
                _ => self.end_of_lowest_entry(addr),
            };
        }
        Ok(())
    }

    /// Returns the end of what the lowest entry above level 0 on the path to `addr` translates. That
    /// entry is empty, maps a page, or leads to a table of the lowest level.
    fn end_of_lowest_entry(&self, addr: usize) -> usize {
        let mut table = self.root;
        let mut level = Self::TOP;
        while level > 1
            && let EntryState::Table(next) =
                read::<E>(self.entry(table, VirtAddr::from_usize(addr), level), level)
        {
            table = next;
            level -= 1;
        }
        block_around(addr, Self::entry_size(level)).end
    }

    /// Replaces a large page by a table of pages of the next smaller size. Takes one of the `spare`
    /// tables.
    #[cold]
    pub(super) fn split(
        &self,
        page: Page,
        spare: &mut SpareTables<H>,
        flusher: &mut impl Flusher,
    ) -> AxResult {
        let mut level = Self::TOP;
        let mut table = self.root;
        while let EntryState::Table(next) = read::<E>(self.entry(table, page.vaddr, level), level) {
            table = next;
            level -= 1;
        }
        let smaller = spare.take()?;
        let entries = self.entries(smaller);
        write_pages::<E>(entries, level - 1, page.paddr, page.flags, self.mark);
        let entry = self.entry(table, page.vaddr, level);
        // The entry is empty for a moment. On several harts all of the page is locked. On one hart it
        // may reach beyond the locked range, and there a page fault of an interrupt handler would fill
        // the entry.
        let _irqs = flusher.disable_irqs();
        clear(entry);
        let start = page.vaddr.as_usize();
        flusher.flush_now(start..start + page.size);
        write_table::<E>(entry, smaller);
        Ok(())
    }
}
