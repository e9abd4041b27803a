//! The operations on a range. Each walks the table once, top down, and changes
//! nothing if it fails.

use core::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingHandler, PagingMetaData};

use super::entry::{
    Slot, absent, add_page, add_table, clear, clear_row, protect_pages, read, readable,
    write_pages, write_table,
};
use super::split::Spare;
use super::{Change, ENTRIES, Gather, PageTable, Source};

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
        &self,
        pages: Pages,
        flags: MappingFlags,
        source: &mut impl Source,
        undo: &mut impl Gather,
    ) -> AxResult {
        let (start, top) = (pages.start, M::LEVELS - 1);
        let mut mapping = Mapping {
            done: start,
            flags,
            source,
        };
        let result = self.map_in(self.root, top, pages, &mut mapping);
        if result.is_err() {
            let done = mapping.done;
            self.clear_in(self.root, top, start..done, undo);
            self.prune(VirtAddr::from_usize(done), undo);
        }
        result
    }

    /// Maps the page at `vaddr`, if nothing is mapped there, to `frame`. Answers whether
    /// it has: not if the table for it is missing, which only [`map_new`](Self::map_new)
    /// makes.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if something is mapped there.
    #[inline(always)]
    pub fn map_page(
        &self,
        vaddr: VirtAddr,
        flags: MappingFlags,
        frame: PhysAddr,
    ) -> AxResult<bool> {
        let mut table = self.root;
        for level in (1..M::LEVELS).rev() {
            table = match read::<E>(self.entry(table, vaddr, level), level) {
                Slot::Table(next) => next,
                Slot::Page(..) => return Err(AxError::AlreadyExists),
                Slot::Absent => return Ok(false),
            };
        }
        match add_page(self.entry(table, vaddr, 0), 0, frame, flags, self.mark) {
            true => Ok(true),
            false => Err(AxError::AlreadyExists),
        }
    }

    /// As [`map_page`](Self::map_page), for a page of the size that an entry of `level`
    /// maps, and makes the tables that are missing.
    ///
    /// # Errors
    ///
    /// As [`map_page`](Self::map_page); `NoMemory` if there is none for the tables, and
    /// then nothing has changed.
    pub fn map_new(
        &self,
        vaddr: VirtAddr,
        level: usize,
        flags: MappingFlags,
        frame: PhysAddr,
    ) -> AxResult {
        loop {
            let Some((entry, found)) = self.lowest_absent(vaddr, level) else {
                return Err(AxError::AlreadyExists);
            };
            if found == level {
                return match add_page(entry, level, frame, flags, self.mark) {
                    true => Ok(()),
                    false => Err(AxError::AlreadyExists),
                };
            }
            let branch = self.branch(vaddr, level..found, flags, frame)?;
            if add_table(entry, branch) {
                return Ok(());
            }
            // Another hart's page fault was faster. Its tables will do.
            Self::free_tables(branch, found - 1);
        }
    }

    /// The entry for `vaddr`, of `level` or above, that is absent, and its level: `None` if
    /// something is mapped there. It is read once: by the next moment another hart may have
    /// put a table there.
    fn lowest_absent(&self, vaddr: VirtAddr, level: usize) -> Option<(*mut E, usize)> {
        let (mut table, mut at) = (self.root, M::LEVELS - 1);
        loop {
            let entry = self.entry(table, vaddr, at);
            match read::<E>(entry, at) {
                Slot::Table(next) if at > level => table = next,
                Slot::Absent => return Some((entry, at)),
                Slot::Table(_) | Slot::Page(..) => return None,
            }
            at -= 1;
        }
    }

    /// A table of the highest of `levels` but one, and the tables below it, that lead to
    /// a page of the lowest at `vaddr`.
    fn branch(
        &self,
        vaddr: VirtAddr,
        levels: Range<usize>,
        flags: MappingFlags,
        frame: PhysAddr,
    ) -> AxResult<PhysAddr> {
        let mut spare = Spare::<H>::take(levels.len())?;
        let mut below = None;
        for level in levels {
            let table = Self::cleared(spare.next()?);
            let entry = self.entry(table, vaddr, level);
            match below {
                None => _ = add_page(entry, level, frame, flags, self.mark),
                Some(below) => write_table(entry, below),
            }
            below = Some(table);
        }
        below.ok_or(AxError::InvalidInput)
    }

    fn map_in(
        &self,
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
                    if !add_table(entry, next) {
                        // Another hart's will do.
                        H::dealloc_frame(next);
                        continue;
                    }
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
        &self,
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

    /// Unmaps what is mapped in `pages` and gives it to `gather`. Both ends are
    /// boundaries between pages already ([`split_edges`](Self::split_edges)).
    pub fn unmap_whole(&self, pages: Pages, gather: &mut impl Gather) {
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

    /// Clears all entries of a range whose ends no page crosses. Returns whether the table
    /// may have become empty.
    fn clear_in(
        &self,
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
                    let whole = part.len() == size;
                    if self.clear_in(next, level - 1, part, gather)
                        && let Some(_alone) = self.may_free(level, vaddr, gather)
                        && (whole || Self::is_empty(next))
                    {
                        clear(entry);
                        cleared = true;
                        gather.table(next);
                    }
                }
            }
        }
        whole || cleared
    }

    /// As [`clear_in`](Self::clear_in), of a table of the lowest level: a loop
    /// of few instructions, for most of an unmapping is spent here.
    fn clear_leaf(&self, table: PhysAddr, pages: Pages, gather: &mut impl Gather) -> bool {
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
        whole || cleared
    }

    /// `Some` if the table that the entry of `level` for `vaddr` leads to may be freed once it
    /// is empty. It stays empty meanwhile.
    fn may_free<G: Gather>(&self, level: usize, vaddr: VirtAddr, gather: &G) -> Option<G::Alone> {
        let size = Self::entry_size(level);
        let first = vaddr.as_usize() & !(size - 1);
        match self.keeps(level, vaddr) {
            true => None,
            false => gather.alone(first, first | (size - 1)),
        }
    }

    /// Gives back empty tables on the way to `vaddr`.
    pub fn prune(&self, vaddr: VirtAddr, gather: &mut impl Gather) {
        self.prune_in(self.root, M::LEVELS - 1, vaddr, gather);
    }

    /// What the table below the entry of `level` for `vaddr` translates, the first and the
    /// last address, if it is empty and may be freed.
    pub fn empty_table_at(&self, vaddr: VirtAddr, level: usize) -> Option<(usize, usize)> {
        let mut table = self.root;
        for above in (level..M::LEVELS).rev() {
            let Slot::Table(next) = read::<E>(self.entry(table, vaddr, above), above) else {
                return None;
            };
            table = next;
        }
        let size = Self::entry_size(level);
        let first = vaddr.as_usize() & !(size - 1);
        let may_go = !self.keeps(level, vaddr) && Self::is_empty(table);
        may_go.then_some((first, first | (size - 1)))
    }

    /// Frees empty tables on the way to `vaddr` below an entry of `table`.
    fn prune_in(&self, table: PhysAddr, level: usize, vaddr: VirtAddr, gather: &mut impl Gather) {
        let entry = self.entry(table, vaddr, level);
        let Slot::Table(next) = read::<E>(entry, level) else {
            return;
        };
        if level > 1 {
            self.prune_in(next, level - 1, vaddr, gather);
        }
        if let Some(_alone) = self.may_free(level, vaddr, gather)
            && Self::is_empty(next)
        {
            clear(entry);
            gather.table(next);
        }
    }

    /// Changes every page that is mapped in `pages`, which no page crosses an end of.
    /// Without rights there is no large page in it. `gather` is told of the tables' parts
    /// where any entry was another before.
    pub fn protect_whole(&self, pages: Pages, change: Change, gather: &mut impl Gather) {
        self.protect_in(self.root, M::LEVELS - 1, pages, change, gather);
    }

    fn protect_in(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        change: Change,
        gather: &mut impl Gather,
    ) {
        let size = Self::entry_size(level);
        if level == 0 {
            return self.protect_leaf(table, pages, change, gather);
        }
        let flags = change.flags;
        for part in parts(pages, size) {
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            match read::<E>(entry, level) {
                Slot::Absent => {}
                Slot::Table(next) => self.protect_in(next, level - 1, part, change, gather),
                // The format may not have all that was asked for.
                Slot::Page(_, before) if before == readable::<E>(flags, level) => {}
                Slot::Page(paddr, before) => {
                    if Self::differ_in_kind(before, flags) {
                        clear(entry);
                        gather.forget_now(part.clone());
                    }
                    // SAFETY: the entry is one of this page table's.
                    unsafe { write_pages(entry, 1, level, paddr, flags, self.mark) };
                    gather.changed(part);
                }
            }
        }
    }

    /// Changes the rights of `pages`, which one table of the lowest level translates. Pages
    /// whose kind of memory changes lose all rights first, where a break is allowed.
    #[inline(always)]
    fn protect_leaf(
        &self,
        table: PhysAddr,
        pages: Pages,
        change: Change,
        gather: &mut impl Gather,
    ) {
        let entry = self.entry(table, VirtAddr::from_usize(pages.start), 0);
        let count = pages.len() / PAGE_SIZE_4K;
        // SAFETY: one table of this page table translates all of the range.
        let protect = |flags| unsafe { protect_pages(entry, count, flags, self.mark) };
        // SAFETY: `index` is below `count`, and all of the range's entries are in one table.
        let flags = |index| match read::<E>(unsafe { entry.add(index) }, 0) {
            Slot::Page(_, flags) => flags,
            Slot::Absent | Slot::Table(_) => MappingFlags::empty(),
        };
        let differs = |index| Self::differ_in_kind(flags(index), change.flags);
        if change.may_break && (0..count).any(differs) && protect(MappingFlags::empty()) {
            gather.forget_now(pages.clone());
        }
        if protect(change.flags) {
            gather.changed(pages);
        }
    }
}

/// A mapping on its way.
struct Mapping<'a, S> {
    /// Where it has come to.
    done: usize,
    flags: MappingFlags,
    source: &'a mut S,
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
