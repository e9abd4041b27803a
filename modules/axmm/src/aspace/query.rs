//! What is mapped: areas, rights, and pages.
//!
//! An area in several shards is kept as a *part* in each of them. Queries join the parts.
//!
//! The `try_` lookups never wait. They are for the report of a failure: the hart that fails, or
//! one that has been stopped for good, may be in the middle of an operation.

use axerrno::{AxError, AxResult};
use memory_addr::{VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::space::AddrSpace;
use super::write_guard::WriteGuard;
use crate::addr::{as_span, clip, va_range};
use crate::backing::Backend;
use crate::machine::Machine;
use crate::page_table::{Page, VisitPosition, Visited};

impl<M: Machine> AddrSpace<M> {
    /// Returns whether every page of `size` bytes from `start` on may be accessed with `flags`,
    /// now or after a page fault.
    pub fn can_access_range(&self, start: VirtAddr, size: usize, flags: MappingFlags) -> bool {
        let Some(end) = start.as_usize().checked_add(size) else {
            return false;
        };
        let mut reached = start.as_usize();
        while reached < end {
            match self.part_at(VirtAddr::from_usize(reached)) {
                Some(area) if area.flags().contains(flags) => reached = area.end().as_usize(),
                _ => return false,
            }
        }
        true
    }

    /// Returns all areas in ascending order: addresses, rights, name and backend.
    pub fn areas(&self) -> impl Iterator<Item = MemoryArea<Backend>> {
        self.areas_from(VirtAddr::from_usize(0))
    }

    /// Returns the areas that end above `vaddr`, in ascending order. Each is as it was when the
    /// iterator returned it.
    pub fn areas_from(&self, vaddr: VirtAddr) -> impl Iterator<Item = MemoryArea<Backend>> {
        let mut from = vaddr.as_usize();
        core::iter::from_fn(move || {
            let area = self.next_part(from)?;
            let area = self.joined(area);
            from = area.end().as_usize();
            Some(area)
        })
    }

    /// Returns the area that `vaddr` lies in.
    pub fn area_at(&self, vaddr: VirtAddr) -> Option<MemoryArea<Backend>> {
        self.part_at(vaddr).map(|part| self.joined(part))
    }

    /// Returns the area at `vaddr`, as far as it lies in the shard of `vaddr`.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if a hart, this one included, is changing the areas around `vaddr`.
    pub fn try_area_at(&self, vaddr: VirtAddr) -> AxResult<Option<MemoryArea<Backend>>> {
        let number = self.shards.number_of(vaddr.as_usize());
        let Some(shard) = self.shards.get(number) else {
            return Ok(None);
        };
        let areas = self.try_read_areas(shard).ok_or(AxError::ResourceBusy)?;
        Ok(areas.area_at(vaddr).map(|area| area.area()))
    }

    /// Returns the page that `vaddr` lies in, if it has a frame.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        // While the hart holds its fault slot, the page and the tables on the path to it stay.
        let _slot = self.fault_slot(vaddr).ok()?;
        self.table.query(vaddr)
    }

    /// Returns the page that `vaddr` lies in, if it has a frame.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if a hart is changing pages around `vaddr`, or this hart is in the middle
    /// of a page fault.
    pub fn try_query(&self, vaddr: VirtAddr) -> AxResult<Option<Page>> {
        let _irqs_off = M::disable_irqs();
        let Some(shard) = self.shards.at(vaddr.as_usize()) else {
            return Ok(None);
        };
        // An operation that locks the address waits until the slot is empty. If a caller tried
        // again and again and took the slot each time, the operation might never see it empty.
        if shard.lock.is_locked(vaddr) {
            return Err(AxError::ResourceBusy);
        }
        // While the hart holds its fault slot, the page and the tables on the path to it stay.
        let slot = self.try_fault_slot(vaddr);
        let _slot = slot.ok_or(AxError::ResourceBusy)?;
        Ok(self.table.query(vaddr))
    }

    /// Returns the area at `vaddr`, as far as it lies in the shard of `vaddr`.
    fn part_at(&self, vaddr: VirtAddr) -> Option<MemoryArea<Backend>> {
        let shard = self.shards.at(vaddr.as_usize())?;
        match shard.shared_areas().peek(vaddr) {
            Some((area, _)) => Some(area),
            None => self.area_under_lock(vaddr),
        }
    }

    /// Looks the area at `vaddr` up with the index lock held, as far as it lies in the shard of
    /// `vaddr`. A lookup without the lock can miss an area while others are changed.
    #[cold]
    pub(super) fn area_under_lock(&self, vaddr: VirtAddr) -> Option<MemoryArea<Backend>> {
        let number = self.shards.number_of(vaddr.as_usize());
        let areas = self.read_areas(self.shards.get(number)?)?;
        let area = areas.area_at(vaddr)?;
        Some(area.area())
    }

    /// Returns the first area that ends above `from`, as far as it lies in one shard.
    fn next_part(&self, from: usize) -> Option<MemoryArea<Backend>> {
        let mut shards = self.shards.made_from(self.shards.number_of(from));
        shards.find_map(|shard| {
            let areas = self.read_areas(shard)?;
            Some(areas.areas_from(VirtAddr::from_usize(from)).next()?.area())
        })
    }

    /// Returns the whole area of which `part` lies in one shard.
    #[inline(always)]
    fn joined(&self, part: MemoryArea<Backend>) -> MemoryArea<Backend> {
        match self.shards.count() {
            1 => part,
            _ => self.joined_across(part),
        }
    }

    #[inline(never)]
    fn joined_across(&self, mut area: MemoryArea<Backend>) -> MemoryArea<Backend> {
        let starts_shard = |addr| {
            let shard = self.shards.range(self.shards.number_of(addr));
            shard.start.as_usize() == addr
        };
        while starts_shard(area.end().as_usize())
            && let Some(part) = self.area_under_lock(area.end())
            && let Some(joined) = area.merged_with(&part)
        {
            area = joined;
        }
        while starts_shard(area.start().as_usize())
            && let Some(before) = area.start().as_usize().checked_sub(1)
            && let Some(part) = self.area_under_lock(VirtAddr::from_usize(before))
            && let Some(joined) = part.merged_with(&area)
        {
            area = joined;
        }
        area
    }

    /// Calls `see` for the tables and runs of pages in `pages` that come after what has been
    /// `reached`: at most `most`, and up to the first for which `see` returns `false`. Returns
    /// whether the visit goes on: `false` if `see` has returned `false`, or if nothing is left.
    ///
    /// It [looks at a part](Self::look_at_part) of `pages`, so nothing that it visits is unmapped
    /// meanwhile.
    pub(crate) fn visit_some(
        &self,
        pages: VirtAddrRange,
        reached: &mut VisitPosition,
        most: usize,
        see: &mut dyn FnMut(&Visited) -> bool,
    ) -> bool {
        self.look_at_part(pages, reached, |guard, reached| {
            let part = as_span(guard.range());
            self.table.visit_some(part, reached, most, see)
        })
    }

    /// Makes one step of a visit of `pages`, of which the addresses below `reached` have been
    /// visited. A step lies in one shard: its part is the rest of `pages`, up to the shard's end.
    ///
    /// Calls `look` with a guard whose range is that part. `look` visits some of it, and moves
    /// `reached`. It returns `None` when it has visited all of the part. Otherwise it returns
    /// whether there may be more to visit, and this returns the same. After `None`, this moves
    /// `reached` to the next shard, and returns whether any of `pages` lies there.
    ///
    /// While `look` runs, no operation has locked any of the part, and the index lock is held. So
    /// nothing there is unmapped meanwhile.
    ///
    /// An interrupt handler that has interrupted an operation must not wait. For it, `pages` end at
    /// the first shard in which any range is locked or queued.
    pub(super) fn look_at_part(
        &self,
        pages: VirtAddrRange,
        reached: &mut VisitPosition,
        look: impl FnOnce(&WriteGuard<'_, M>, &mut VisitPosition) -> Option<bool>,
    ) -> bool {
        let from = pages.start.as_usize().max(reached.vaddr());
        if from >= pages.end.as_usize() {
            return false;
        }
        let number = self.shards.number_of(from);
        let limits = self.shards.range(number);
        let part = clip(va_range(from, pages.end.as_usize()), limits);
        if let Some(shard) = self.shards.get(number) {
            let mut guard = WriteGuard::new(self, shard, part);
            // It fails in an interrupt handler that has interrupted an operation there.
            if guard.begin().is_err() {
                return false;
            }
            if let Some(more) = look(&guard, reached) {
                return more;
            }
        }
        if limits.end >= pages.end {
            return false;
        }
        reached.skip_to(limits.end.as_usize());
        true
    }
}

#[cfg(test)]
mod tests {
    use memory_addr::VirtAddrRange;

    use super::super::write_guard::WriteGuard;
    use super::*;
    use crate::test_memory;

    const BASE: VirtAddr = VirtAddr::from_usize(0x4000_0000);
    const SIZE: usize = 0x4000;

    fn space() -> AddrSpace {
        test_memory::add_once();
        let space = AddrSpace::new_empty(BASE, 1 << 30).unwrap();
        let rights = MappingFlags::READ | MappingFlags::WRITE;
        space.map_alloc(BASE, SIZE, rights, true).unwrap();
        space
    }

    #[test]
    fn an_idle_address_space_is_looked_up_at_once() {
        let space = space();
        let area = space.try_area_at(BASE).unwrap().unwrap();
        assert_eq!(
            as_span(area.va_range()),
            BASE.as_usize()..BASE.as_usize() + SIZE
        );
        let page = space.try_query(BASE).unwrap().unwrap();
        assert_eq!(Some(page.paddr), space.query(BASE).map(|page| page.paddr));
        let behind = BASE + SIZE;
        assert!(space.try_area_at(behind).unwrap().is_none());
        assert!(space.try_query(behind).unwrap().is_none());
    }

    #[test]
    fn an_area_under_change_is_busy() {
        let space = space();
        let range = VirtAddrRange::from_start_size(BASE, SIZE);
        let shard = space.shards.get(0).unwrap();
        let guard = WriteGuard::begun(&space, shard, range).unwrap();
        let area = space.try_area_at(BASE);
        assert_eq!(area.map(|_| ()), Err(AxError::ResourceBusy));
        drop(guard);
        assert!(space.try_area_at(BASE).is_ok());
    }

    #[test]
    fn a_page_lookup_within_a_page_fault_is_busy() {
        let space = space();
        let fault = space.fault_slot(BASE);
        assert_eq!(space.try_query(BASE), Err(AxError::ResourceBusy));
        drop(fault);
        assert!(space.try_query(BASE).is_ok());
    }
}
