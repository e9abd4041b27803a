//! The operations on a range. Each walks the table once, top down, and changes
//! nothing if it fails.

use core::marker::PhantomData;
use core::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingHandler, PagingMetaData};

use super::slot::{Slot, read, readable, write};
use super::{Gather, Page, PageTable};

/// A page-aligned range of virtual addresses, not empty.
pub type Pages = Range<usize>;

/// Finds the frame for a page of a given address and size: `Ok(None)` asks for
/// smaller pages there.
pub type FrameFor<'a> = &'a mut dyn FnMut(VirtAddr, usize) -> AxResult<Option<PhysAddr>>;

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// Maps `pages`, where nothing may be mapped yet, with `flags`; `frame_for`
    /// is asked for a frame for each, the largest pages first.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if something is mapped in the range, `NoMemory` if there
    /// is none for a table, or what `frame_for` answers. Pages that were mapped
    /// up to then are given to `undo`, and nothing has changed.
    pub fn map(
        &mut self,
        pages: Pages,
        flags: MappingFlags,
        frame_for: FrameFor,
        undo: &mut dyn Gather,
    ) -> AxResult {
        let mut done = pages.start;
        let top = M::LEVELS - 1;
        let result = self.map_in(self.root, top, pages.clone(), flags, frame_for, &mut done);
        if result.is_err() {
            self.clear_in(self.root, top, pages.start..done, undo);
            self.prune_in(self.root, top, VirtAddr::from_usize(done), undo);
        }
        result
    }

    fn map_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        flags: MappingFlags,
        frame_for: FrameFor,
        done: &mut usize,
    ) -> AxResult {
        for part in parts(pages, Self::entry_size(level)) {
            let vaddr = VirtAddr::from_usize(part.start);
            let entry = self.entry(table, vaddr, level);
            let next = match read::<E>(entry, level) {
                Slot::Page(..) => return Err(AxError::AlreadyExists),
                Slot::Table(next) => next,
                Slot::Absent => {
                    let size = Self::entry_size(level);
                    let fits = part.len() == size && size <= self.largest;
                    if fits && let Some(frame) = frame_for(vaddr, size)? {
                        write::<E>(entry, level, Slot::Page(frame, flags));
                        *done = part.end;
                        continue;
                    }
                    if level == 0 {
                        return Err(AxError::NoMemory);
                    }
                    let next = Self::new_table()?;
                    write::<E>(entry, level, Slot::Table(next));
                    next
                }
            };
            self.map_in(next, level - 1, part, flags, frame_for, done)?;
        }
        Ok(())
    }

    /// Unmaps what is mapped in `pages` and gives it to `gather`. A large page
    /// that lies in the range only in part is split first.
    ///
    /// # Errors
    ///
    /// `NoMemory` if there is none for the tables that a split needs; then
    /// nothing has changed.
    pub fn unmap(&mut self, pages: Pages, gather: &mut dyn Gather) -> AxResult {
        self.split_edges(&pages, gather)?;
        self.clear_in(self.root, M::LEVELS - 1, pages, gather);
        Ok(())
    }

    /// Clears all entries of a range whose ends no page crosses. Answers whether
    /// the table has become empty.
    fn clear_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        gather: &mut dyn Gather,
    ) -> bool {
        let whole = pages.len() == Self::entry_size(level + 1);
        for part in parts(pages, Self::entry_size(level)) {
            let vaddr = VirtAddr::from_usize(part.start);
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                Slot::Absent => {}
                Slot::Page(paddr, flags) => {
                    write::<E>(entry, level, Slot::Absent);
                    let size = Self::entry_size(level);
                    gather.page(Page {
                        vaddr,
                        paddr,
                        size,
                        flags,
                    });
                }
                Slot::Table(next) => {
                    let empty = self.clear_in(next, level - 1, part, gather);
                    if empty && !self.keeps(level, vaddr) {
                        write::<E>(entry, level, Slot::Absent);
                        gather.table(next);
                    }
                }
            }
        }
        whole || Self::is_empty(table)
    }

    /// Gives back empty tables on the way to `vaddr`, which a mapping that
    /// failed there may have left. Answers whether this table is one.
    fn prune_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        vaddr: VirtAddr,
        gather: &mut dyn Gather,
    ) -> bool {
        let entry = self.entry(table, vaddr, level);
        if let Slot::Table(next) = read::<E>(entry, level)
            && self.prune_in(next, level - 1, vaddr, gather)
            && !self.keeps(level, vaddr)
        {
            write::<E>(entry, level, Slot::Absent);
            gather.table(next);
        }
        Self::is_empty(table)
    }

    /// Gives every page that is mapped in `pages` the rights `flags`; `gather`
    /// is told of each whose rights were others before.
    ///
    /// # Errors
    ///
    /// `NoMemory`, as for [`unmap`](Self::unmap).
    pub fn protect(
        &mut self,
        pages: Pages,
        flags: MappingFlags,
        gather: &mut dyn Gather,
    ) -> AxResult {
        match flags.is_empty() {
            true => self.split_all(&pages, gather)?,
            false => self.split_edges(&pages, gather)?,
        }
        self.protect_in(self.root, M::LEVELS - 1, pages, flags, gather);
        Ok(())
    }

    fn protect_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        flags: MappingFlags,
        gather: &mut dyn Gather,
    ) {
        for part in parts(pages, Self::entry_size(level)) {
            let vaddr = VirtAddr::from_usize(part.start);
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                Slot::Absent => {}
                Slot::Table(next) => self.protect_in(next, level - 1, part, flags, gather),
                // The format may not have all that was asked for.
                Slot::Page(_, before) if before == readable::<E>(flags, level) => {}
                Slot::Page(paddr, flags_before) => {
                    write::<E>(entry, level, Slot::Page(paddr, flags));
                    let size = Self::entry_size(level);
                    gather.changed(Page {
                        vaddr,
                        paddr,
                        size,
                        flags: flags_before,
                    });
                }
            }
        }
    }

    /// Makes both ends of `pages` boundaries between pages: a large page across
    /// one becomes a table of smaller ones, with the same frames and rights.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    pub fn split_edges(&mut self, pages: &Pages, gather: &mut dyn Gather) -> AxResult {
        let (start, end) = (pages.start, pages.end);
        // What the first end has split already is not split for the second.
        let count = self.tables_across(start, None) + self.tables_across(end, Some(start));
        let mut spare = Spare::<H>::take(count)?;
        self.split_at(start, &mut spare, gather)?;
        self.split_at(end, &mut spare, gather)
    }

    /// How many tables it takes to make `addr` a boundary between pages, once
    /// `done` is one.
    fn tables_across(&self, addr: usize, done: Option<usize>) -> usize {
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

    fn split_at(&mut self, addr: usize, spare: &mut Spare<H>, gather: &mut dyn Gather) -> AxResult {
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
    fn split_all(&mut self, pages: &Pages, gather: &mut dyn Gather) -> AxResult {
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
        &mut self,
        pages: &Pages,
        mut f: impl FnMut(&mut Self, Page) -> AxResult<usize>,
    ) -> AxResult {
        let mut addr = pages.start;
        while addr < pages.end {
            addr = match self.query(VirtAddr::from_usize(addr)) {
                Some(page) if page.size > PAGE_SIZE_4K => f(self, page)?,
                _ => addr + PAGE_SIZE_4K,
            };
        }
        Ok(())
    }

    pub(super) fn split(
        &mut self,
        page: Page,
        spare: &mut Spare<H>,
        gather: &mut dyn Gather,
    ) -> AxResult {
        let mut level = M::LEVELS - 1;
        let mut table = self.root;
        while let Slot::Table(next) = read::<E>(self.entry(table, page.vaddr, level), level) {
            table = next;
            level -= 1;
        }
        let small = spare.next()?;
        let size = Self::entry_size(level - 1);
        for offset in (0..page.size).step_by(size) {
            let entry = self.entry(small, page.vaddr + offset, level - 1);
            write::<E>(
                entry,
                level - 1,
                Slot::Page(page.paddr + offset, page.flags),
            );
        }
        let entry = self.entry(table, page.vaddr, level);
        write::<E>(entry, level, Slot::Absent);
        gather.forget_now(page);
        write::<E>(entry, level, Slot::Table(small));
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

/// Cuts a range at the multiples of `size`.
pub(super) fn parts(pages: Pages, size: usize) -> impl Iterator<Item = Pages> + Clone {
    let mut start = pages.start;
    core::iter::from_fn(move || {
        if start >= pages.end {
            return None;
        }
        // The last multiple may lie beyond the last address there is.
        let end = (start & !(size - 1)).checked_add(size);
        let end = end.map_or(pages.end, |end| end.min(pages.end));
        let part = start..end;
        start = end;
        Some(part)
    })
}
