//! Our address space, with frames from our allocator.

use core::ops::Range;

use axbench_aspace::{PAGE, Refused};
use axmm::{AddrSpace, MappingFlags, VirtAddr, VirtAddrRange};

use super::{ALL, FIXED, LOADS, RO, RW};
use crate::ours::Frames;

/// Our address space under the loads.
pub struct Space(AddrSpace);

impl Space {
    /// Makes an address space in which only [`FIXED`] is mapped. `None` without memory.
    pub fn new() -> Option<Self> {
        Frames::new();
        let space = AddrSpace::new_empty(ALL.start.into(), ALL.len()).ok()?;
        space.map_alloc(FIXED.into(), PAGE, RW, false).ok()?;
        Some(Self(space))
    }
}

impl axbench_aspace::Space for Space {
    fn range(&self) -> Range<usize> {
        LOADS
    }

    fn map(&mut self, start: usize, size: usize, populate: bool) -> Result<(), Refused> {
        let mapped = self.0.map_alloc(start.into(), size, RW, populate);
        mapped.map_err(|_| Refused)
    }

    fn unmap(&mut self, start: usize, size: usize) -> Result<(), Refused> {
        self.0.unmap(start.into(), size).map_err(|_| Refused)
    }

    fn protect(&mut self, start: usize, size: usize, write: bool) -> Result<(), Refused> {
        let flags = if write { RW } else { RO };
        let changed = self.0.protect(start.into(), size, flags);
        changed.map_err(|_| Refused)
    }

    fn touch(&mut self, page: usize) -> Result<(), Refused> {
        let access = MappingFlags::WRITE;
        match self.0.handle_page_fault(page.into(), access) {
            true => Ok(()),
            false => Err(Refused),
        }
    }

    fn find_free(&self, hint: usize, size: usize, limit: Range<usize>) -> Option<usize> {
        let limit = VirtAddrRange::new(limit.start.into(), limit.end.into());
        let found = self.0.find_free_area(hint.into(), size, limit);
        found.map(VirtAddr::as_usize)
    }

    fn can_write(&self, start: usize, size: usize) -> bool {
        self.0.can_access_range(start.into(), size, RW)
    }
}
