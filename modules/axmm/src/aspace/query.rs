//! Lookups that never wait, for the report of a failure. The hart that fails, or one that
//! has been stopped for good, may be in the middle of an operation.

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;

use super::AddrSpace;
use crate::areas::Area;
use crate::backing::Backend;
use crate::locking::range_lock::LockedBy;
use crate::machine::Machine;
use crate::page_table::Page;

impl<M: Machine> AddrSpace<M> {
    /// The area at `vaddr`, as [`area_at`](Self::area_at) finds it, or, if it reaches over
    /// several shards of the address space, its part in the one that `vaddr` lies in.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if a hart, this one included, is changing the areas around `vaddr`.
    pub fn try_area_at(&self, vaddr: VirtAddr) -> AxResult<Option<Area<Backend>>> {
        let number = self.shards.number_of(vaddr.as_usize());
        let Some(shard) = self.shards.get(number) else {
            return Ok(None);
        };
        let areas = self.try_read_areas(shard).ok_or(AxError::ResourceBusy)?;
        Ok(areas.find(vaddr.as_usize()).map(|area| area.area()))
    }

    /// The page at `vaddr`, as [`query`](Self::query) finds it.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if a hart is changing pages around `vaddr`, or this hart is in the
    /// middle of a page fault.
    pub fn try_query(&self, vaddr: VirtAddr) -> AxResult<Option<Page>> {
        let _pin = M::disable_irqs();
        let (hart, addr) = (M::hart(), vaddr.as_usize());
        let Some(shard) = self.shards.at(addr) else {
            return Ok(None);
        };
        // While the hart holds its fault slot, nothing around `vaddr` is unmapped.
        let slot = shard.lock.fault_slot(hart, addr);
        let _slot = slot.ok_or(AxError::ResourceBusy)?;
        if shard.lock.locked_by(hart, addr) != LockedBy::None {
            return Err(AxError::ResourceBusy);
        }
        Ok(self.table.query(vaddr))
    }
}

#[cfg(test)]
mod tests {
    use page_table_multiarch::MappingFlags;

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
    fn an_idle_space_is_seen_as_it_is() {
        let space = space();
        let area = space.try_area_at(BASE).unwrap().unwrap();
        assert_eq!(area.span(), BASE.as_usize()..BASE.as_usize() + SIZE);
        let page = space.try_query(BASE).unwrap().unwrap();
        assert_eq!(Some(page.paddr), space.query(BASE).map(|page| page.paddr));
        let behind = BASE + SIZE;
        assert!(space.try_area_at(behind).unwrap().is_none());
        assert!(space.try_query(behind).unwrap().is_none());
    }

    #[test]
    fn a_space_in_the_middle_of_an_operation_is_busy() {
        let space = space();
        let span = BASE.as_usize()..BASE.as_usize() + SIZE;
        let edit = space
            .write_areas(space.shards.get(0).unwrap(), &span)
            .unwrap();
        let area = space.try_area_at(BASE);
        assert_eq!(area.map(|_| ()), Err(AxError::ResourceBusy));
        drop(edit);
        assert!(space.try_area_at(BASE).is_ok());
    }

    #[test]
    fn a_page_is_not_looked_up_in_the_middle_of_a_fault() {
        let space = space();
        let fault = space.fault_slot(BASE);
        assert_eq!(space.try_query(BASE), Err(AxError::ResourceBusy));
        drop(fault);
        assert!(space.try_query(BASE).is_ok());
    }
}
