//! Mapping: physical addresses linearly, or fresh frames, populated or lazy.

use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PhysAddr, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::{MappingFlags, PagingMetaData};

use super::operation::{MissingShard, Operation, with_memory};
use super::space::AddrSpace;
use super::write_guard::WriteGuard;
use crate::addr::as_span;
use crate::backing::{Backend, Grain};
use crate::machine::Machine;

impl<M: Machine> AddrSpace<M> {
    /// Maps `size` bytes from `start_vaddr` on to the physical addresses from `start_paddr` on,
    /// with the largest pages to which both are aligned.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if an address or the size is not a multiple of 4 KiB, if the range is
    ///   empty, not in the address space or [fixed](Self::fix_below), or if the machine has no such
    ///   physical addresses.
    /// - `InvalidInput` if `flags` do not contain the right to read. In the kernel's address space
    ///   also if they contain `USER`, or both the right to write and the right to execute.
    /// - `AlreadyExists` if something is mapped in the range.
    /// - `NoMemory`.
    /// - `ResourceBusy` in some interrupt handlers ([`AddrSpace`]).
    ///
    /// # Safety
    ///
    /// As long as the mapping lasts, the physical memory may be accessed through it: copied by
    /// [`read`](Self::read) and [`write`](Self::write), and used by a user program. So while the
    /// mapping can be written, no Rust reference to the memory exists, and while it can only be
    /// read, no mutable one.
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

    /// Maps physical addresses as [`map_linear`](Self::map_linear) does. `name` is what listings
    /// call the area.
    ///
    /// # Errors
    ///
    /// Those of [`map_linear`](Self::map_linear).
    ///
    /// # Safety
    ///
    /// The caller keeps the promise of [`map_linear`](Self::map_linear).
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
        let backend = Backend::Linear { pa_va_offset, name };
        self.map(start_vaddr, size, flags, backend)
    }

    /// Maps `size` bytes from `start` on to fresh frames full of zeroes: all of them now if
    /// `populate`, otherwise each when its page is first accessed.
    ///
    /// # Errors
    ///
    /// Those of [`map_linear`](Self::map_linear), but `flags` may be empty, for pages that get
    /// rights later ([`protect`](Self::protect)).
    pub fn map_alloc(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        populate: bool,
    ) -> AxResult {
        self.map_alloc_with(start, size, flags, populate, Grain::Page)
    }

    /// Maps fresh frames as [`map_alloc`](Self::map_alloc) does. A page fault maps as many pages
    /// as `grain` says. With [`Grain::Large`], populating uses large pages where blocks of
    /// frames are free.
    ///
    /// # Errors
    ///
    /// Those of [`map_alloc`](Self::map_alloc). `InvalidInput` also if `grain` counts more than
    /// 512 pages, or a number that is not a power of two.
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
        self.map(start, size, flags, Backend::Alloc { populate, grain })
    }

    fn map(&self, start: VirtAddr, size: usize, flags: MappingFlags, backend: Backend) -> AxResult {
        let range = self.mappable(start, size)?;
        self.check_rights(flags)?;
        let map = Map {
            flags,
            backend,
            populates: !backend.is_lazy(),
        };
        with_memory::<M, _>(|| self.perform_map(range, &map))
    }

    /// Not inlined, so that the code of a mapping exists once, and all that it calls is inlined.
    #[inline(never)]
    pub(super) fn perform_map(&self, range: VirtAddrRange, map: &Map) -> AxResult {
        self.perform(range, map)
    }

    /// Adds an area like `area`, which is one of another address space. Its pages are mapped if
    /// they are linear; others are for the caller to map. `is_pinned` says that this address space does
    /// not move any more, so that objects can keep its address.
    ///
    /// # Errors
    ///
    /// Those of [`map_linear`](Self::map_linear). `Unsupported` for a shared mapping of an object if not
    /// `is_pinned`.
    pub(super) fn map_like(&self, area: &MemoryArea<Backend>, is_pinned: bool) -> AxResult {
        if let Some(of) = area.backend().object() {
            return self.map_object_like(area, of, is_pinned);
        }
        let map = Map {
            flags: area.flags(),
            backend: *area.backend(),
            populates: !area.backend().owns_frames(),
        };
        self.perform_map(area.va_range(), &map)
    }
}

/// The operation that maps a range.
pub(super) struct Map {
    pub flags: MappingFlags,
    pub backend: Backend,
    /// Whether all pages are mapped now.
    pub populates: bool,
}

impl<M: Machine> Operation<M> for Map {
    const MISSING_SHARD: MissingShard = MissingShard::Make;

    #[inline(always)]
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        // Fails with `AlreadyExists` if something is mapped in the range.
        guard.reserve_insert(guard.range())?;
        if self.populates {
            return self.populate(guard);
        }
        if self.backend.object().is_some_and(|object| object.is_shared) {
            open_tables(guard)?;
        }
        // No page is mapped, so the index lock is enough.
        guard.insert(guard.range(), self.flags, &self.backend);
        Ok(())
    }

    fn undo(&self, guard: &mut WriteGuard<'_, M>) {
        // If no page was mapped, nothing may be cleared: a shared page table may translate the
        // range together with pages around it.
        if self.populates {
            guard.unlocked(|unlocked| {
                let mut gather = unlocked.gather();
                gather.set_owns_frames(self.backend.owns_frames());
                let table = &unlocked.space().table;
                table.unmap_whole_pages(as_span(unlocked.range()), &mut gather);
                gather.finish();
            });
        }
        guard.remove_areas(guard.range());
        guard.free_tables();
    }
}

/// Opens the shared page tables that translate a part of the range, before it shows an object whose
/// writes others see. The object takes its pages away without memory, so it could not open a table.
#[cold]
fn open_tables<M: Machine>(guard: &mut WriteGuard<'_, M>) -> AxResult {
    guard.lock_range();
    guard.open_all()?;
    M::publish_entries();
    Ok(())
}

impl Map {
    /// Adds the area, and maps all of its pages.
    #[inline(never)]
    fn populate<M: Machine>(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        // One for the area, and one more: if memory runs out, the area may have to be cut out of
        // a neighbour with which it was merged.
        guard.reserve(2)?;
        guard.lock_range_and_tables();
        // From here on, other harts that look for free addresses do not find these.
        guard.insert(guard.range(), self.flags, &self.backend);
        let mapped = guard.unlocked(|unlocked| {
            let (space, range) = (unlocked.space(), unlocked.range());
            // Takes the pages that are unmapped again if memory runs out.
            let mut gather = unlocked.gather();
            gather.set_owns_frames(self.backend.owns_frames());
            let mapped =
                self.backend
                    .map::<M>(&space.table, as_span(range), self.flags, &mut gather);
            gather.finish();
            mapped?;
            if self.flags.contains(MappingFlags::EXECUTE) {
                space.sync_locked(range);
            }
            Ok(())
        });
        if mapped.is_err() {
            guard.remove_areas(guard.range());
            guard.free_tables();
        }
        M::publish_entries();
        mapped
    }
}
