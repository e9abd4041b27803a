//! Large pages become tables of smaller ones. The tables are taken before anything
//! changes, so that there is memory for all of them or nothing happens.

use core::marker::PhantomData;

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, PagingHandler, PagingMetaData};

use super::change::{Pages, parts};
use super::entry::{Slot, clear, read, write_pages, write_table};
use super::{ENTRIES, Gather, Page, PageTable};

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// Makes both ends of `pages` boundaries between pages: a large page across
    /// one becomes a table of smaller ones, with the same frames and rights.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    pub fn split_edges(&self, pages: &Pages, gather: &mut impl Gather) -> AxResult {
        let (start, end) = (pages.start, pages.end);
        // What the first end has split already is not split for the second.
        let count = self.tables_across(start, None) + self.tables_across(end, Some(start));
        if count == 0 {
            return Ok(());
        }
        let mut spare = Spare::<H>::take(count)?;
        self.split_at(start, &mut spare, gather)?;
        self.split_at(end, &mut spare, gather)
    }

    /// Whether no large page lies across an end of `pages`.
    pub fn has_split_edges(&self, pages: &Pages) -> bool {
        self.tables_across(pages.start, None) == 0 && self.tables_across(pages.end, None) == 0
    }

    /// How many tables it takes to make `addr` a boundary between pages, once
    /// `done` is one.
    fn tables_across(&self, addr: usize, done: Option<usize>) -> usize {
        // Every page ends at the multiples of the largest's size.
        if addr.is_multiple_of(self.largest) {
            return 0;
        }
        let Some(page) = self.query(VirtAddr::from_usize(addr)) else {
            return 0;
        };
        let across = |level: &usize| {
            let size = Self::entry_size(*level);
            let split =
                done.is_some_and(|done| !done.is_multiple_of(size) && done / size == addr / size);
            size <= page.size && !addr.is_multiple_of(size) && !split
        };
        (1..M::LEVELS).filter(across).count()
    }

    fn split_at(&self, addr: usize, spare: &mut Spare<H>, gather: &mut impl Gather) -> AxResult {
        while let Some(page) = self.query(VirtAddr::from_usize(addr)) {
            if page.vaddr.as_usize() == addr {
                break;
            }
            self.split(page, spare, gather)?;
        }
        Ok(())
    }

    /// Splits every large page of `pages` down to the smallest: a page without
    /// rights cannot be told from a table above the lowest level.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    pub fn split_all(&self, pages: &Pages, gather: &mut impl Gather) -> AxResult {
        let mut count = 0;
        self.for_large(pages, |_, page| {
            let inside = page.vaddr.as_usize().max(pages.start)
                ..(page.vaddr.as_usize() + page.size).min(pages.end);
            let tables = (1..M::LEVELS).map(Self::entry_size);
            count += tables
                .take_while(|size| *size <= page.size)
                .map(|size| parts(inside.clone(), size).count())
                .sum::<usize>();
            Ok(inside.end)
        })?;
        if count == 0 {
            return Ok(());
        }
        let mut spare = Spare::<H>::take(count)?;
        self.for_large(pages, |table, page| {
            table.split(page, &mut spare, gather)?;
            Ok(page.vaddr.as_usize().max(pages.start))
        })
    }

    /// Calls `f` for the large pages of `pages`, which answers where to go on.
    fn for_large(
        &self,
        pages: &Pages,
        mut f: impl FnMut(&Self, Page) -> AxResult<usize>,
    ) -> AxResult {
        let mut addr = pages.start;
        while addr < pages.end {
            addr = match self.query(VirtAddr::from_usize(addr)) {
                Some(page) if page.size > PAGE_SIZE_4K => f(self, page)?,
                Some(_) => addr + PAGE_SIZE_4K,
                None => match self.end_of_nothing(addr) {
                    Some(end) => end,
                    None => break,
                },
            };
        }
        Ok(())
    }

    /// Where the entry that translates `addr`, and is absent, ends; `None` beyond the
    /// last address.
    fn end_of_nothing(&self, addr: usize) -> Option<usize> {
        let mut table = self.root;
        let mut level = M::LEVELS - 1;
        while let Slot::Table(next) =
            read::<E>(self.entry(table, VirtAddr::from_usize(addr), level), level)
        {
            table = next;
            level -= 1;
        }
        let size = Self::entry_size(level);
        (addr & !(size - 1)).checked_add(size)
    }

    #[cold]
    pub(super) fn split(
        &self,
        page: Page,
        spare: &mut Spare<H>,
        gather: &mut impl Gather,
    ) -> AxResult {
        let mut level = M::LEVELS - 1;
        let mut table = self.root;
        while let Slot::Table(next) = read::<E>(self.entry(table, page.vaddr, level), level) {
            table = next;
            level -= 1;
        }
        let small = spare.next()?;
        let entries = self.entry(small, page.vaddr, level - 1);
        // SAFETY: the page begins where its table does, which is not in use yet.
        unsafe {
            write_pages(
                entries,
                ENTRIES,
                level - 1,
                page.paddr,
                page.flags,
                self.mark,
            );
        };
        let entry = self.entry(table, page.vaddr, level);
        let _undisturbed = gather.undisturbed();
        clear(entry);
        let start = page.vaddr.as_usize();
        gather.forget_now(start..start + page.size);
        write_table(entry, small);
        Ok(())
    }
}

/// Frames for tables, taken before anything changes. Each holds the address of
/// the next; those that are left go back.
pub(super) struct Spare<H: PagingHandler> {
    first: Option<PhysAddr>,
    _handler: PhantomData<H>,
}

impl<H: PagingHandler> Spare<H> {
    pub(super) fn take(count: usize) -> AxResult<Self> {
        let mut spare = Self {
            first: None,
            _handler: PhantomData,
        };
        for _ in 0..count {
            let frame = H::alloc_frame().ok_or(AxError::NoMemory)?;
            // SAFETY: the frame is nobody else's, and `H` says where it is.
            unsafe { Self::link(frame).write(spare.first) };
            spare.first = Some(frame);
        }
        Ok(spare)
    }

    /// A frame, in which every entry is to be written.
    pub(super) fn next(&mut self) -> AxResult<PhysAddr> {
        let frame = self.first.ok_or(AxError::NoMemory)?;
        // SAFETY: `take` wrote it.
        self.first = unsafe { Self::link(frame).read() };
        Ok(frame)
    }

    fn link(frame: PhysAddr) -> *mut Option<PhysAddr> {
        H::phys_to_virt(frame).as_mut_ptr().cast()
    }
}

impl<H: PagingHandler> Drop for Spare<H> {
    fn drop(&mut self) {
        while let Ok(frame) = self.next() {
            H::dealloc_frame(frame);
        }
    }
}
