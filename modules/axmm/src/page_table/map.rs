//! Mapping: of a whole range at once, and of one page for a page fault.

use core::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{GenericPTE, MappingFlags, PagingMetaData};

use super::entry::{
    ENTRIES, Entry, EntryState, count_empty, read, try_add_page, try_add_table, write_pages,
    write_table,
};
use super::flusher::Flusher;
use super::owners::FrameOwners;
use super::spare::SpareTables;
use super::table::PageTable;
use crate::addr::{Pages, first_part};

/// Where the frames of a mapping come from.
pub trait FrameSource {
    /// Prepares for a page of `size` bytes at `vaddr`, and may allocate its frames. Returns
    /// whether a page of that size can be mapped there. Then the page table calls
    /// [`frames`](Self::frames) for it, and otherwise tries smaller pages.
    fn prepare(&mut self, vaddr: usize, size: usize) -> bool;

    /// Returns contiguous frames for up to `count` pages of `size` bytes from `vaddr` on: the
    /// first physical address, and the number of pages, which is at least 1. For the first page,
    /// [`prepare`](Self::prepare) has returned `true`.
    ///
    /// # Errors
    ///
    /// Fails if there are no frames. The mapping then fails with the same error.
    fn frames(&mut self, vaddr: usize, size: usize, count: usize) -> AxResult<(PhysAddr, usize)>;
}

/// A mapping that is being made.
struct Mapping<'a, S> {
    /// The end of what has been mapped.
    done: usize,
    flags: MappingFlags,
    source: &'a mut S,
}

impl<M, E, H> PageTable<M, E, H>
where
    M: PagingMetaData<VirtAddr = VirtAddr>,
    E: GenericPTE,
    H: FrameOwners,
{
    /// Maps `pages` with the rights `flags` to frames from `source`, with the largest pages for
    /// which the source has frames.
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists` if a page is mapped in the range, with `NoMemory` if there is
    /// no frame for a table, with `InvalidInput` if `source` refuses even a page of 4 KiB, or with
    /// the error of `source`. Then nothing has changed: pages that were mapped before the error
    /// have been unmapped again, and reported to `undo`.
    pub fn map(
        &self,
        pages: Pages,
        flags: MappingFlags,
        source: &mut impl FrameSource,
        undo: &mut impl Flusher,
    ) -> AxResult {
        let start = pages.start;
        let mut mapping = Mapping {
            done: start,
            flags,
            source,
        };
        let result = self.map_in(self.root, Self::TOP, pages, &mut mapping);
        if result.is_err() {
            let done = mapping.done;
            self.clear_in(self.root, Self::TOP, start..done, undo);
            // The tables for `done` may have been added before the error, without a page in them.
            self.free_empty_tables(VirtAddr::from_usize(done), undo);
        }
        result
    }

    /// Maps the 4 KiB page at `vaddr` to `frame`. Returns `false`, and has changed nothing, if the
    /// table for it does not exist or is shared. [`map_with_tables`](Self::map_with_tables)
    /// allocates missing tables.
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists` if a page is mapped there.
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
                EntryState::Table(next) => next,
                EntryState::Page(..) => return Err(AxError::AlreadyExists),
                EntryState::Empty | EntryState::Shared(_) => return Ok(false),
            };
        }
        match try_add_page::<E>(self.entry(table, vaddr, 0), 0, frame, flags, self.mark) {
            true => Ok(true),
            false => Err(AxError::AlreadyExists),
        }
    }

    /// Maps the page at `vaddr` to `frame`, and allocates the tables that are missing for it. The
    /// page has the size that an entry of `level` translates.
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists` if a page, a table for smaller pages, or a shared table is there.
    /// Fails with `NoMemory` if there are not enough frames for the tables. Then nothing has
    /// changed.
    pub fn map_with_tables(
        &self,
        vaddr: VirtAddr,
        level: usize,
        flags: MappingFlags,
        frame: PhysAddr,
    ) -> AxResult {
        loop {
            let Some((entry, found)) = self.empty_entry_on_path(vaddr, level) else {
                return Err(AxError::AlreadyExists);
            };
            if found == level {
                return match try_add_page::<E>(entry, level, frame, flags, self.mark) {
                    true => Ok(()),
                    false => Err(AxError::AlreadyExists),
                };
            }
            let path = self.build_path(vaddr, level..found, flags, frame)?;
            if try_add_table::<E>(entry, path) {
                return Ok(());
            }
            // A page fault of another hart has added a table meanwhile, which is used instead.
            self.free_tables(path, found - 1);
        }
    }

    /// Returns the entry of `level` or above at which the path to `vaddr` ends, and its level.
    /// Returns `None` if that entry is not empty. Each entry is read only once, since another hart
    /// may add a table at any time.
    fn empty_entry_on_path(&self, vaddr: VirtAddr, level: usize) -> Option<(&Entry, usize)> {
        let (mut table, mut at) = (self.root, Self::TOP);
        loop {
            let entry = self.entry(table, vaddr, at);
            match read::<E>(entry, at) {
                EntryState::Table(next) if at > level => table = next,
                EntryState::Empty => return Some((entry, at)),
                EntryState::Table(_) | EntryState::Shared(_) | EntryState::Page(..) => return None,
            }
            at -= 1;
        }
    }

    /// Builds the tables of `levels`, which lead to a page of the lowest of these levels at
    /// `vaddr`. Returns the highest table, which is not part of the page table yet.
    fn build_path(
        &self,
        vaddr: VirtAddr,
        levels: Range<usize>,
        flags: MappingFlags,
        frame: PhysAddr,
    ) -> AxResult<PhysAddr> {
        let mut spare = SpareTables::<H>::allocate(levels.len())?;
        let mut below = None;
        for level in levels {
            let table = spare.take()?;
            let entry = self.entry(table, vaddr, level);
            match below {
                None => _ = try_add_page::<E>(entry, level, frame, flags, self.mark),
                Some(below) => write_table::<E>(entry, below),
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
        mapping: &mut Mapping<impl FrameSource>,
    ) -> AxResult {
        let size = Self::entry_size(level);
        mapping.done = pages.start;
        while mapping.done < pages.end {
            let part = first_part(mapping.done..pages.end, size);
            let is_whole = part.len() == size && size <= self.largest;
            let entry = self.entry(table, VirtAddr::from_usize(part.start), level);
            let next = match read::<E>(entry, level) {
                EntryState::Page(..) => return Err(AxError::AlreadyExists),
                EntryState::Table(next) => next,
                EntryState::Shared(_) => {
                    let vaddr = VirtAddr::from_usize(part.start);
                    self.open(vaddr, &mut SpareTables::allocate(1)?, &|| {})?;
                    continue;
                }
                EntryState::Empty if is_whole && mapping.source.prepare(part.start, size) => {
                    let left = mapping.done..pages.end;
                    mapping.done += self.map_run(table, level, left, mapping)?;
                    continue;
                }
                // The source has refused a page of 4 KiB: its physical address is not aligned.
                EntryState::Empty if level == 0 => return Err(AxError::InvalidInput),
                EntryState::Empty => {
                    let next = Self::new_table()?;
                    if !try_add_table::<E>(entry, next) {
                        // Another hart has added a table meanwhile: it is read and used.
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

    /// Maps the first of `pages`, whose entry in `table` is empty, and the following pages of the
    /// same table for which `source` has contiguous frames. Returns the number of bytes.
    fn map_run(
        &self,
        table: PhysAddr,
        level: usize,
        pages: Pages,
        mapping: &mut Mapping<impl FrameSource>,
    ) -> AxResult<usize> {
        let in_table = first_part(pages, ENTRIES * Self::entry_size(level));
        let entries = self.entries_of(table, &in_table, level);
        let size = Self::entry_size(level);
        let empty = count_empty(entries);
        let (frame, count) = mapping.source.frames(in_table.start, size, empty)?;
        debug_assert!((1..=empty).contains(&count));
        // No other hart has filled an entry meanwhile: the caller has locked their range.
        let entries = entries.get(..count).ok_or(AxError::BadState)?;
        write_pages::<E>(entries, level, frame, mapping.flags, self.mark);
        Ok(count * size)
    }
}
