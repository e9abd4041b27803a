//! Mapping: linear, and of fresh frames, populated or lazy.

use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PhysAddr, VirtAddr};
use page_table_multiarch::{MappingFlags, PagingMetaData};

use super::operation::{Missing, Operation};
use super::write_guard::WriteGuard;
use super::{AddrSpace, with_memory};
use crate::areas::Area;
use crate::backing::{Backend, Grain};
use crate::machine::Machine;

impl<M: Machine> AddrSpace<M> {
    /// Maps `size` bytes from `start_vaddr` on to the physical addresses from
    /// `start_paddr` on, with the largest pages that fit both.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if an address or the size is not page-aligned, the range is
    /// empty or not within the address space, the machine has no such physical
    /// addresses, or `flags` are rights that a kernel mapping cannot have: none at
    /// all, any without read, or write together with execute. `AlreadyExists` if
    /// something is mapped in the range. `NoMemory`.
    ///
    /// # Safety
    ///
    /// As long as the mapping lasts, whatever is done through it may be done to that
    /// physical memory: copies by [`read`](Self::read) and [`write`](Self::write), and
    /// accesses by a user program. Rust references to the memory allow that at most for
    /// reads, so with the right to write there are none.
    pub unsafe fn map_linear(
        &self,
        start_vaddr: VirtAddr,
        start_paddr: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        // SAFETY: the caller's promise is this function's requirement.
        unsafe { self.map_linear_named("linear", start_vaddr, start_paddr, size, flags) }
    }

    /// As [`map_linear`](Self::map_linear), with a name for people.
    ///
    /// # Errors
    ///
    /// As [`map_linear`](Self::map_linear).
    ///
    /// # Safety
    ///
    /// As [`map_linear`](Self::map_linear).
    pub unsafe fn map_linear_named(
        &self,
        name: &'static str,
        start_vaddr: VirtAddr,
        start_paddr: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        let last = start_paddr
            .as_usize()
            .checked_add(size)
            .and_then(|end| end.checked_sub(1));
        let exists = last.is_some_and(M::Meta::paddr_is_valid);
        if !start_paddr.is_aligned_4k() || !exists || flags.is_empty() {
            return Err(AxError::InvalidInput);
        }
        let pa_va_offset = start_vaddr.as_usize().wrapping_sub(start_paddr.as_usize());
        self.map(
            name,
            start_vaddr,
            size,
            flags,
            Backend::Linear { pa_va_offset },
        )
    }

    /// Maps `size` bytes from `start` on to fresh frames full of zeroes: all now
    /// (`populate`), or each when its page is first touched.
    ///
    /// # Errors
    ///
    /// As [`map_linear`](Self::map_linear); but no rights at all are allowed,
    /// for pages that get some later ([`protect`](Self::protect)).
    pub fn map_alloc(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        populate: bool,
    ) -> AxResult {
        self.map_alloc_with(start, size, flags, populate, Grain::Page)
    }

    /// As [`map_alloc`](Self::map_alloc); each page fault brings as much as `grain`
    /// says, and a large grain populates with large pages where blocks are free.
    ///
    /// # Errors
    ///
    /// As [`map_alloc`](Self::map_alloc); `InvalidInput` also for a grain that
    /// cannot be.
    pub fn map_alloc_with(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        populate: bool,
        grain: Grain,
    ) -> AxResult {
        if !grain.is_valid() {
            return Err(AxError::InvalidInput);
        }
        self.map(
            "alloc",
            start,
            size,
            flags,
            Backend::Alloc { populate, grain },
        )
    }

    fn map(
        &self,
        name: &'static str,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        backend: Backend,
    ) -> AxResult {
        let span = self.mappable(start, size)?;
        self.check_rights(flags)?;
        let map = Map {
            name,
            flags,
            backend,
        };
        with_memory::<M>(|| self.perform(&span, &map))
    }
}

/// The operation.
struct Map {
    name: &'static str,
    flags: MappingFlags,
    backend: Backend,
}

impl<M: Machine> Operation<M> for Map {
    const MISSING: Missing = Missing::Make;

    #[inline(always)]
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        let span = guard.span().clone();
        guard.reserve_insert(&span)?;
        let area = Area::new(span, self.flags, self.name, self.backend);
        if self.backend.is_lazy() {
            guard.insert(area);
            return Ok(());
        }
        self.populate(guard, area)
    }

    fn undo(&self, guard: &mut WriteGuard<'_, M>) {
        guard.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            gather.set_owns_frames(self.backend.owns_frames());
            let table = &unlocked.space().table;
            table.unmap_whole_pages(unlocked.span().clone(), &mut gather);
            gather.finish();
        });
        guard.remove_areas();
        guard.free_tables();
    }
}

impl Map {
    /// Maps what is there from the beginning, and adds the area.
    #[inline(never)]
    fn populate<M: Machine>(&self, guard: &mut WriteGuard<'_, M>, area: Area<Backend>) -> AxResult {
        // One for the area, and one if it must be cut out of a neighbour again.
        guard.reserve(2)?;
        guard.lock_range_and_tables();
        // From here on others that look for free addresses find these taken.
        guard.insert(area);
        let mapped = guard.unlocked(|unlocked| {
            let mut undo = unlocked.gather();
            undo.set_owns_frames(area.backing().owns_frames());
            let (space, span) = (unlocked.space(), area.span());
            let backing = area.backing();
            let mapped = backing.map::<M>(&space.table, span.clone(), area.flags(), &mut undo);
            undo.finish();
            mapped?;
            if area.flags().contains(MappingFlags::EXECUTE) {
                space.sync_locked(&span);
            }
            Ok(())
        });
        if mapped.is_err() {
            guard.remove_areas();
            guard.free_tables();
        }
        M::publish_entries();
        mapped
    }
}
