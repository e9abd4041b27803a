//! The operations on a range. Each walks the table once, top down, and changes
//! nothing if it fails.

use core::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingHandler, PagingMetaData};

use super::slot::{
    Slot, absent, clear, clear_row, protect_pages, read, readable, write_pages, write_table,
};
use super::{ENTRIES, Gather, PageTable, Source};

/// A page-aligned range of virtual addresses, not empty.
pub type Pages = Range<usize>;

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: PagingHandler,
{
    /// Maps `pages`, where nothing may be mapped yet, with `flags`, to frames from
    /// `source`, which is asked for the largest pages first.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if something is mapped in the range, `NoMemory` if there
    /// is none for a table, or what `source` answers. Pages that were mapped up
    /// to then are given to `undo`, and nothing has changed.
    pub fn map(
        &mut self,
        pages: Pages,
        flags: MappingFlags,
        source: &mut impl Source,
        undo: &mut impl Gather,
    ) -> AxResult {
        let (start, top) = (pages.start, M::LEVELS - 1);
        let mut mapping = Mapping::new(start, flags, source, false);
        let result = self.map_in(self.root, top, pages, &mut mapping);
        if result.is_err() {
            let done = mapping.done;
            self.clear_in(self.root, top, start..done, undo);
            self.prune_in(self.root, top, VirtAddr::from_usize(done), undo);
        }
        result
    }

    /// As [`map`](Self::map), but leaves alone what is mapped already, and, when
    /// `source` answers an error, what it has mapped up to then.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map), but `AlreadyExists`.
    pub fn fill(
        &mut self,
        pages: Pages,
        flags: MappingFlags,
        source: &mut impl Source,
        undo: &mut impl Gather,
    ) -> AxResult {
        let mut mapping = Mapping::new(pages.start, flags, source, true);
        let result = self.map_in(self.root, M::LEVELS - 1, pages, &mut mapping);
        if result.is_err() {
            let done = VirtAddr::from_usize(mapping.done);
            self.prune_in(self.root, M::LEVELS - 1, done, undo);
        }
        result
    }

    /// Maps one page at `vaddr`, where nothing may be mapped yet, to a frame that
    /// `frame` is asked for. Answers whether it has: not if the table for it is
    /// missing, which only [`map`](Self::map) makes.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if something is mapped there, or what `frame` answers.
    #[inline(always)]
    pub fn map_page(
        &mut self,
        vaddr: VirtAddr,
        flags: MappingFlags,
        frame: impl FnOnce() -> AxResult<PhysAddr>,
    ) -> AxResult<bool> {
        let mut table = self.root;
        for level in (1..M::LEVELS).rev() {
            table = match read::<E>(self.entry(table, vaddr, level), level) {
                Slot::Table(next) => next,
                Slot::Page(..) => return Err(AxError::AlreadyExists),
                Slot::Absent => return Ok(false),
            };
        }
        let entry = self.entry(table, vaddr, 0);
        // SAFETY: the entry is one of this page table's.
        unsafe {
            if absent(entry, 1) == 0 {
                return Err(AxError::AlreadyExists);
            }
            write_pages(entry, 1, 0, frame()?, flags, self.mark);
        }
        Ok(true)
    }

    fn map_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        mapping: &mut Mapping<impl Source>,
    ) -> AxResult {
        let size = Self::entry_size(level);
        mapping.done = pages.start;
        while mapping.done < pages.end {
            let part = first_part(mapping.done..pages.end, size);
            let whole = part.len() == size && size <= self.largest;
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            let next = match read::<E>(entry, level) {
                Slot::Page(..) if mapping.skips => {
                    mapping.done = part.end;
                    continue;
                }
                Slot::Page(..) => return Err(AxError::AlreadyExists),
                Slot::Table(next) => next,
                Slot::Absent if whole && mapping.source.fits(part.start, size) => {
                    let left = mapping.done..pages.end;
                    mapping.done += self.map_run(entry, level, left, mapping)?;
                    continue;
                }
                Slot::Absent if level == 0 => return Err(AxError::InvalidInput),
                Slot::Absent => {
                    let next = Self::new_table()?;
                    write_table(entry, next);
                    next
                }
            };
            self.map_in(next, level - 1, part, mapping)?;
        }
        Ok(())
    }

    /// Maps the first of `pages`, where `entry` is absent, and as many more of
    /// the same table as `source` has frames for in a row. Answers how many bytes.
    fn map_run(
        &mut self,
        entry: *mut E,
        level: usize,
        pages: Pages,
        mapping: &mut Mapping<impl Source>,
    ) -> AxResult<usize> {
        let size = Self::entry_size(level);
        let room = ENTRIES - pages.start / size % ENTRIES;
        let most = room.min(pages.len() / size);
        // SAFETY: `entry` and the `room - 1` behind it are in a table.
        let most = unsafe { absent(entry, most) };
        let (frame, count) = mapping.source.frames(pages.start, size, most)?;
        debug_assert!((1..=most).contains(&count));
        // SAFETY: as above, and the table is this page table's.
        unsafe { write_pages(entry, count, level, frame, mapping.flags, self.mark) };
        Ok(count * size)
    }

    /// Unmaps what is mapped in `pages` and gives it to `gather`. A large page
    /// that lies in the range only in part is split first.
    ///
    /// # Errors
    ///
    /// `NoMemory` if there is none for the tables that a split needs; then
    /// nothing has changed.
    pub fn unmap(&mut self, pages: Pages, gather: &mut impl Gather) -> AxResult {
        self.split_edges(&pages, gather)?;
        self.unmap_whole(pages, gather);
        Ok(())
    }

    /// Unmaps as [`unmap`](Self::unmap) what lies between addresses that are
    /// boundaries between pages already ([`split_edges`](Self::split_edges)).
    pub fn unmap_whole(&mut self, pages: Pages, gather: &mut impl Gather) {
        if !self.leads_nowhere(&pages) {
            self.clear_in(self.root, M::LEVELS - 1, pages, gather);
        }
    }

    /// Whether one entry is absent that translates all of `pages`.
    pub fn leads_nowhere(&self, pages: &Pages) -> bool {
        let mut table = self.root;
        for level in (0..M::LEVELS).rev() {
            if (pages.start ^ (pages.end - 1)) >= Self::entry_size(level) {
                return false;
            }
            let entry = self.entry(table, VirtAddr::from_usize(pages.start), level);
            match read::<E>(entry, level) {
                Slot::Absent => return true,
                Slot::Table(next) => table = next,
                Slot::Page(..) => return false,
            }
        }
        false
    }

    /// Clears all entries of a range whose ends no page crosses. Answers whether
    /// the table has become empty.
    fn clear_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        gather: &mut impl Gather,
    ) -> bool {
        if level == 0 {
            return self.clear_leaf(table, pages, gather);
        }
        let size = Self::entry_size(level);
        let whole = pages.len() == Self::entry_size(level + 1);
        let mut cleared = false;
        let mut left = pages;
        while !left.is_empty() {
            let part = first_part(left.clone(), size);
            left.start = part.end;
            let vaddr = VirtAddr::from_usize(part.start);
            let entry = self.entry(table, vaddr, level);
            match read::<E>(entry, level) {
                Slot::Absent => {
                    // SAFETY: as many as are left lie behind it in the same table.
                    left.start += size * unsafe { absent(entry.add(1), left.len() / size) };
                }
                Slot::Page(paddr, _) => {
                    clear(entry);
                    cleared = true;
                    gather.pages(part, paddr);
                }
                Slot::Table(next) => {
                    let empty = self.clear_in(next, level - 1, part, gather);
                    if empty && !self.keeps(level, vaddr) {
                        clear(entry);
                        cleared = true;
                        gather.table(next);
                    }
                }
            }
        }
        // An empty table is never left behind, and the root is never given back.
        whole || (cleared && level + 1 < M::LEVELS && Self::is_empty(table))
    }

    /// As [`clear_in`](Self::clear_in), of a table of the lowest level: a loop
    /// of few instructions, for most of an unmapping is spent here.
    fn clear_leaf(&mut self, table: PhysAddr, pages: Pages, gather: &mut impl Gather) -> bool {
        let whole = pages.len() == Self::entry_size(1);
        let mut at = pages.start;
        let mut cleared = false;
        while at < pages.end {
            let entry = self.entry(table, VirtAddr::from_usize(at), 0);
            let left = (pages.end - at) / PAGE_SIZE_4K;
            // SAFETY: one table of this page table translates all of the range.
            let (frame, count) = unsafe { clear_row(entry, left) };
            let row = at..at + count * PAGE_SIZE_4K;
            at = row.end;
            if let Some(frame) = frame {
                cleared = true;
                gather.pages(row, frame);
            }
        }
        whole || (cleared && Self::is_empty(table))
    }

    /// Gives back empty tables on the way to `vaddr`, which a mapping that
    /// failed there may have left. Answers whether this table is one.
    fn prune_in(
        &mut self,
        table: PhysAddr,
        level: usize,
        vaddr: VirtAddr,
        gather: &mut impl Gather,
    ) -> bool {
        let entry = self.entry(table, vaddr, level);
        if let Slot::Table(next) = read::<E>(entry, level)
            && self.prune_in(next, level - 1, vaddr, gather)
            && !self.keeps(level, vaddr)
        {
            clear(entry);
            gather.table(next);
        }
        Self::is_empty(table)
    }

    /// Gives every page that is mapped in `pages` the rights `flags`; `gather`
    /// is told of the tables' parts where any entry was another before.
    ///
    /// # Errors
    ///
    /// `NoMemory`, as for [`unmap`](Self::unmap).
    pub fn protect(
        &mut self,
        pages: Pages,
        flags: MappingFlags,
        gather: &mut impl Gather,
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
        gather: &mut impl Gather,
    ) {
        let size = Self::entry_size(level);
        if level == 0 {
            let entry = self.entry(table, VirtAddr::from_usize(pages.start), level);
            // SAFETY: one table of this page table translates all of the range.
            if unsafe { protect_pages(entry, pages.len() / size, flags, self.mark) } {
                gather.changed(pages);
            }
            return;
        }
        for part in parts(pages, size) {
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                Slot::Absent => {}
                Slot::Table(next) => self.protect_in(next, level - 1, part, flags, gather),
                // The format may not have all that was asked for.
                Slot::Page(_, before) if before == readable::<E>(flags, level) => {}
                Slot::Page(paddr, _) => {
                    // SAFETY: the entry is one of this page table's.
                    unsafe { write_pages(entry, 1, level, paddr, flags, self.mark) };
                    gather.changed(part);
                }
            }
        }
    }
}

/// A mapping on its way.
struct Mapping<'a, S> {
    /// Where it has come to.
    done: usize,
    flags: MappingFlags,
    source: &'a mut S,
    /// Whether it leaves alone what is there, or is refused for it.
    skips: bool,
}

impl<'a, S: Source> Mapping<'a, S> {
    fn new(start: usize, flags: MappingFlags, source: &'a mut S, skips: bool) -> Self {
        Self {
            done: start,
            flags,
            source,
            skips,
        }
    }
}

/// The first part of a range that is cut at the multiples of `size`.
#[inline(always)]
pub(super) fn first_part(pages: Pages, size: usize) -> Pages {
    // The last multiple may lie beyond the last address there is.
    let end = (pages.start & !(size - 1)).checked_add(size);
    pages.start..end.map_or(pages.end, |end| end.min(pages.end))
}

/// Cuts a range at the multiples of `size`.
#[inline(always)]
pub(super) fn parts(mut pages: Pages, size: usize) -> impl Iterator<Item = Pages> + Clone {
    core::iter::from_fn(move || {
        if pages.is_empty() {
            return None;
        }
        let part = first_part(pages.clone(), size);
        pages.start = part.end;
        Some(part)
    })
}
