//! `memory_set` and `page_table_multiarch`, combined in the way of ArceOS's `axmm`.
//!
//! A lazy mapping writes an empty entry for each of its pages, and a page fault writes the
//! frame into that entry. Populating and unmapping use a new cursor for each page. `protect`
//! changes the rights in the page table, and leaves those of the areas as they are.

use core::ops::Range;

use axbench_aspace::{PAGE, Refused, Space as _};
use memory_addr::{PAGE_SIZE_4K, PageIter4K, PhysAddr, VirtAddr, VirtAddrRange};
use memory_set_of_upstream::{MappingBackend, MemoryArea, MemorySet};
use page_table_entry::x86_64::X64PTE;
use page_table_multiarch::{MappingFlags, PageSize, PageTable64, PagingMetaData};

use super::frames::{self, Frames};
use super::{FIXED, LOADS, RO, RW};

/// x86_64's page-table format, without TLB flushes.
struct Meta;

impl PagingMetaData for Meta {
    const LEVELS: usize = 4;
    const PA_MAX_BITS: usize = 52;
    const VA_MAX_BITS: usize = 48;
    type VirtAddr = VirtAddr;

    #[inline]
    fn flush_tlb(_: Option<VirtAddr>) {}
}

type Table = PageTable64<Meta, X64PTE, Frames>;

/// A backend that allocates frames, when it maps or at the first touch.
#[derive(Clone)]
struct Fresh {
    populate: bool,
}

impl Fresh {
    fn populate(start: VirtAddr, size: usize, flags: MappingFlags, table: &mut Table) -> bool {
        let Some(mut pages) = PageIter4K::new(start, start + size) else {
            return false;
        };
        pages.all(|page| {
            let Some(frame) = frames::take_zeroed() else {
                return false;
            };
            let mut cursor = table.cursor();
            cursor.map(page, frame, PageSize::Size4K, flags).is_ok()
        })
    }

    fn fault(&self, page: VirtAddr, flags: MappingFlags, table: &mut Table) -> bool {
        if self.populate {
            return false;
        }
        let Some(frame) = frames::take_zeroed() else {
            return false;
        };
        table.cursor().remap(page, frame, flags).is_ok()
    }
}

impl MappingBackend for Fresh {
    type Addr = VirtAddr;
    type Flags = MappingFlags;
    type PageTable = Table;

    fn map(&self, start: VirtAddr, size: usize, flags: MappingFlags, table: &mut Table) -> bool {
        if self.populate {
            return Self::populate(start, size, flags, table);
        }
        let no_frame = |_| PhysAddr::from_usize(0);
        let mut cursor = table.cursor();
        let mapped = cursor.map_region(start, no_frame, size, MappingFlags::empty(), false);
        mapped.is_ok()
    }

    fn unmap(&self, start: VirtAddr, size: usize, table: &mut Table) -> bool {
        let Some(pages) = PageIter4K::new(start, start + size) else {
            return false;
        };
        for page in pages {
            // An untouched page has an empty entry, on which `unmap` fails.
            if let Ok((frame, ..)) = table.cursor().unmap(page) {
                frames::put(frame);
            }
        }
        true
    }

    fn protect(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        table: &mut Table,
    ) -> bool {
        table.cursor().protect_region(start, size, flags).is_ok()
    }
}

/// The two crates' address space.
pub struct Space {
    areas: MemorySet<Fresh>,
    table: Table,
}

impl Space {
    /// Makes an address space in which only [`FIXED`] is mapped. `None` without memory.
    pub fn new() -> Option<Self> {
        Frames::new()?;
        let mut space = Self {
            areas: MemorySet::new(),
            table: Table::try_new().ok()?,
        };
        space.map(FIXED, PAGE, false).ok()?;
        Some(space)
    }
}

impl axbench_aspace::Space for Space {
    fn range(&self) -> Range<usize> {
        LOADS
    }

    fn map(&mut self, start: usize, size: usize, populate: bool) -> Result<(), Refused> {
        let area = MemoryArea::new(start.into(), size, RW, Fresh { populate });
        let mapped = self.areas.map(area, &mut self.table, false);
        mapped.map_err(|_| Refused)
    }

    fn unmap(&mut self, start: usize, size: usize) -> Result<(), Refused> {
        let unmapped = self.areas.unmap(start.into(), size, &mut self.table);
        unmapped.map_err(|_| Refused)
    }

    fn protect(&mut self, start: usize, size: usize, write: bool) -> Result<(), Refused> {
        let flags = if write { RW } else { RO };
        let mut cursor = self.table.cursor();
        let changed = cursor.protect_region(start.into(), size, flags);
        changed.map_err(|_| Refused)
    }

    fn touch(&mut self, page: usize) -> Result<(), Refused> {
        let page = VirtAddr::from_usize(page);
        let area = self.areas.find(page).ok_or(Refused)?;
        let allowed = area.flags().contains(MappingFlags::WRITE);
        match allowed && area.backend().fault(page, area.flags(), &mut self.table) {
            true => Ok(()),
            false => Err(Refused),
        }
    }

    fn find_free(&self, hint: usize, size: usize, limit: Range<usize>) -> Option<usize> {
        let limit = VirtAddrRange::new(limit.start.into(), limit.end.into());
        let found = self
            .areas
            .find_free_area(hint.into(), size, limit, PAGE_SIZE_4K);
        found.map(VirtAddr::as_usize)
    }

    /// Like ArceOS, looks at all areas from the first on.
    fn can_write(&self, start: usize, size: usize) -> bool {
        let (mut start, end) = (start, start + size);
        for area in self.areas.iter() {
            let span = area.start().as_usize()..area.end().as_usize();
            if span.end <= start {
                continue;
            }
            if span.start > start || !area.flags().contains(RW) {
                return false;
            }
            start = span.end;
            if start >= end {
                return true;
            }
        }
        false
    }
}
