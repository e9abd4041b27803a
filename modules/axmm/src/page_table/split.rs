//! Splitting large pages into tables of smaller pages. All frames for the tables are allocated
//! before anything changes, so a split happens as a whole or fails as a whole.

use axerrno::AxResult;
use memory_addr::{PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingHandler, PagingMetaData};

use super::entry::{EntryState, clear, read, write_pages, write_table};
use super::flusher::Flusher;
use super::spare::SpareTables;
use super::table::{Page, PageTable};
use crate::addr::{Pages, block_around, parts};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// Makes both ends of `pages` boundaries between pages. A large page across an end becomes
    /// a table of smaller pages with the same frames and rights.
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

    /// Returns how many tables are needed to make `addr` a boundary between pages. Does not count
    /// tables that are also needed to make `counted` a boundary.
    fn tables_to_split_at(&self, addr: usize, counted: Option<usize>) -> usize {
        // No page lies across a multiple of the largest size.
        if addr.is_multiple_of(self.largest) {
            return 0;
        }
        let Some(page) = self.query(VirtAddr::from_usize(addr)) else {
            return 0;
        };
        // Whether a page of this size around `addr` must become a table.
        let needs_table = |level: &usize| {
            let size = Self::entry_size(*level);
            let is_cut_by = |at: usize| !at.is_multiple_of(size) && at / size == addr / size;
            size <= page.size && is_cut_by(addr) && !counted.is_some_and(is_cut_by)
        };
        (1..M::LEVELS).filter(needs_table).count()
    }

    /// Splits the large page that lies across `addr`, until `addr` is a boundary between pages.
    fn split_at(
        &self,
        addr: usize,
        spare: &mut SpareTables<H>,
        flusher: &mut impl Flusher,
    ) -> AxResult {
        while let Some(page) = self.query(VirtAddr::from_usize(addr)) {
            if page.vaddr.as_usize() == addr {
                break;
            }
            self.split(page, spare, flusher)?;
        }
        Ok(())
    }

    /// Splits all large pages of `pages` into the smallest pages. A large page without rights
    /// could not be told from a table, so this comes before all rights are taken away.
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
                _ => self.end_without_large_page(addr),
            };
        }
        Ok(())
    }

    /// Returns the end of the aligned block around `addr` that has no large page: what the empty
    /// entry for `addr` translates, or what the table of the lowest level translates. No large
    /// page is mapped at `addr`.
    fn end_without_large_page(&self, addr: usize) -> usize {
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
        // The entry is empty for a moment. Where the page reaches beyond the range that this hart
        // has locked, a page fault of an interrupt handler would fill the entry.
        let _irqs = flusher.disable_irqs();
        clear(entry);
        let start = page.vaddr.as_usize();
        flusher.flush_now(start..start + page.size);
        write_table::<E>(entry, smaller);
        Ok(())
    }
}
