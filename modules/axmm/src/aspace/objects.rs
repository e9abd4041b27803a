//! Memory objects in an address space: mapping them, and page faults in them.

use core::cell::Cell;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::fault::{Fault, FaultRequest, Resolved};
use super::map::Map;
use super::operation::with_memory;
use super::space::AddrSpace;
use crate::addr::{as_span, block_around};
use crate::backing::{Backend, ObjectArea};
use crate::machine::Machine;
use crate::page_table::frames::{PageTableOf, TableFrames};
use crate::page_table::{FrameOwners, Lookup};
use crate::vmo::mappings::{Mapping, Space};
use crate::vmo::{Access, CachePolicy, Run, Vmo};

#[cfg(all(test, loom))]
mod interleavings;

/// Who sees what is written to a mapping of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All that use the object: writes go to the object.
    Shared,
    /// This address space alone: a page is copied when it is written. The mapping shows the object
    /// as it was when it was mapped.
    Private,
}

impl<M: Machine> AddrSpace<M> {
    /// Maps `size` bytes of `object` from `offset` on at `start`. Pages are entered in the page table
    /// at their first access. Nothing is copied, and no frame is allocated but those of the object and
    /// of page tables.
    ///
    /// The address space keeps the object until the mapping is gone. An access past the end of an
    /// object that has shrunk is [`Fault::Bus`]. The mapping is of the kind of memory that the
    /// object's [cache policy](CachePolicy) names. Interrupt handlers must not access the mapping.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if an address, the size or the offset is not a multiple of 4 KiB, if the
    ///   range is not in the address space or [fixed](Self::fix_below), if it is not in the object,
    ///   or if `flags` cannot be the rights of a mapping here; for a private mapping also in the
    ///   kernel's address space.
    /// - `AlreadyExists` if something is mapped in the range.
    /// - `Unsupported` for a private mapping of a contiguous or physical object. `BadState` for one
    ///   of pinned pages.
    /// - `NoMemory`.
    pub fn map_object(
        self: Pin<&Self>,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        object: &Vmo<M>,
        offset: usize,
        sharing: Sharing,
    ) -> AxResult {
        let range = self.mappable(start, size)?;
        let end = offset.checked_add(size).ok_or(AxError::InvalidInput)?;
        let is_private = sharing == Sharing::Private;
        if !offset.is_multiple_of(PAGE_SIZE_4K)
            || end > object.len()
            || (is_private && self.tlb_state.is_kernel())
        {
            return Err(AxError::InvalidInput);
        }
        let space = self.get_ref();
        with_memory::<M, _>(|| match sharing {
            Sharing::Shared => space.map_view(range, flags, object.clone(), offset, true),
            Sharing::Private => {
                let snapshot = object.snapshot_of(offset, size)?;
                snapshot.set_name(object.name());
                space.map_view(range, flags, snapshot, 0, false)
            }
        })
    }

    /// Adds an area like `area` of another address space, which shows an object. `is_pinned` says
    /// that this address space does not move any more.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the object must be able to take its pages away, and the address space may
    /// still move. `NoMemory`.
    pub(super) fn map_object_like(
        &self,
        area: &MemoryArea<Backend>,
        of: ObjectArea,
        is_pinned: bool,
    ) -> AxResult {
        if of.is_shared && !is_pinned {
            return Err(AxError::Unsupported);
        }
        // SAFETY: the caller has locked the area, so its mapping exists.
        let record = unsafe { record::<M>(of).as_ref() };
        let offset = record.offset_of(area.start().as_usize());
        let object = record.object.clone();
        self.map_view(area.va_range(), area.flags(), object, offset, of.is_shared)
    }

    /// Adds an area that shows `object` from `offset` on. If it `is_shared`, this address space does
    /// not move any more.
    fn map_view(
        &self,
        range: VirtAddrRange,
        flags: MappingFlags,
        object: Vmo<M>,
        offset: usize,
        is_shared: bool,
    ) -> AxResult {
        let space: NonNull<dyn Space<M>> = NonNull::from(self);
        // SAFETY: a shared mapping is only made in an address space that does not move, and each
        // address space unmaps everything before it is dropped.
        let record =
            unsafe { Mapping::create(object, as_span(range), offset, is_shared.then_some(space))? };
        // SAFETY: the record was just made, and nothing has unmapped it.
        let policy = unsafe { record.as_ref() }.object.cache_policy();
        // The policy of an object that is mapped, or a snapshot, does not change.
        let flags = flags | memory_kind(policy);
        let map = Map {
            flags,
            backend: Backend::Object(ObjectArea {
                record: record.expose_provenance().get(),
                is_shared,
            }),
            populates: false,
        };
        // Relaxed: the index lock, with which the area is added, orders this before an unmap.
        self.maps_objects.store(true, Ordering::Relaxed);
        let mapped = self
            .check_rights(flags)
            .and_then(|()| self.perform_map(range, &map));
        if mapped.is_err() {
            // SAFETY: nothing has been mapped, so all of it is now counted as unmapped.
            unsafe { Mapping::drop_list(Mapping::unmapped(record, range.size(), None)) };
        }
        mapped
    }

    /// Resolves a fault in an area that shows an object. `None` if `area` shows none. The hart
    /// holds its fault slot for the address.
    #[inline(always)]
    pub(super) fn resolve_in_object(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
    ) -> Option<Resolved> {
        let of = area.backend().object()?;
        Some(self.resolve_object_page(area, of, request))
    }

    /// Resolves a fault in an `area` that shows the object `of`.
    #[inline(never)]
    fn resolve_object_page(
        &self,
        area: &MemoryArea<Backend>,
        of: ObjectArea,
        request: FaultRequest,
    ) -> Resolved {
        let page = request.vaddr.align_down_4k();
        // No shared table translates a shared mapping. `Map` opens shared tables before it adds the
        // area, and a fork shares no table that translates any of it. So the lookup of present pages
        // can wait until the object has been asked.
        if !of.is_shared
            && let Some(resolved) = self.resolve_present(area, request)
        {
            return resolved;
        }
        // SAFETY: an operation that unmaps the page waits for the fault slot, so the record exists.
        let record = unsafe { record::<M>(of).as_ref() };
        let offset = record.offset_of(page.as_usize());
        // A private mapping shows a snapshot, whose pages are never written.
        let access = match of.is_shared && request.access.contains(MappingFlags::WRITE) {
            true => Access::Write,
            false => Access::Read,
        };
        if area.flags().contains(MappingFlags::EXECUTE) {
            self.clean_object_page(record, offset);
        }
        let enter = |run: Run| self.enter_page(page, area.flags(), of, access, run.frame);
        match record.object.try_request(offset, access, 1, enter) {
            Ok(Some(Ok(()))) if access == Access::Read => self.after_read(request, area),
            Ok(Some(Ok(()))) => {
                M::publish_entries();
                Resolved::Yes
            }
            Ok(Some(Err(AxError::NoMemory))) => Resolved::No(Fault::NoMemory),
            // The page is there.
            Ok(Some(Err(AxError::AlreadyExists))) => self.resolve_entered(area, request),
            // The object must first give the page a frame of its own, or unmap its former frame.
            Ok(None | Some(Err(_))) => {
                record.begin_visit();
                Resolved::NeedsObjectPage(of)
            }
            Err(_) => Resolved::No(Fault::Bus),
        }
    }

    /// Resolves a fault whose page has been entered for reading. If the access is a write, the page
    /// is copied next.
    fn after_read(&self, request: FaultRequest, area: &MemoryArea<Backend>) -> Resolved {
        M::publish_entries();
        match request.access.contains(MappingFlags::WRITE) {
            true => self.resolve_entered(area, request),
            false => Resolved::Yes,
        }
    }

    /// Resolves a fault whose page is in the page table.
    fn resolve_entered(&self, area: &MemoryArea<Backend>, request: FaultRequest) -> Resolved {
        let resolved = self.resolve_present(area, request);
        resolved.unwrap_or(Resolved::No(Fault::Unmapped))
    }

    /// Enters a page of an object in the page table. A page that is only read is entered without
    /// the right to write, so that the first write asks the object.
    ///
    /// # Errors
    ///
    /// `NoMemory`. `AlreadyExists` if the page is there, with the rights that `access` needs or in a
    /// private mapping. `BadState` if a former frame of the page is there.
    fn enter_page(
        &self,
        page: VirtAddr,
        flags: MappingFlags,
        of: ObjectArea,
        access: Access,
        frame: PhysAddr,
    ) -> AxResult {
        let flags = match access {
            Access::Write => flags,
            Access::Read => flags.difference(MappingFlags::WRITE),
        };
        if !of.is_shared {
            TableFrames::share(frame, 1)?;
        }
        let mapped = match self.table.map_page(page, flags, frame) {
            Ok(true) => Ok(()),
            Ok(false) => self.table.map_with_tables(page, 0, flags, frame),
            Err(error) => Err(error),
        };
        let entered = match mapped {
            // Another hart may have entered the page for reading, also since `map_page` found no
            // table.
            Err(AxError::AlreadyExists) if access == Access::Write => {
                self.make_writable(page, frame)
            }
            mapped => mapped,
        };
        if entered.is_err() && !of.is_shared {
            TableFrames::release_pages(frame, 1);
        }
        entered
    }

    /// Gives a page of an object the right to write, which was entered for reading.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the page can be written already. `BadState` if it has another frame than
    /// `frame`: another hart has replaced it in the object, and has not unmapped the former frame yet.
    fn make_writable(&self, page: VirtAddr, frame: PhysAddr) -> AxResult {
        let Lookup::Page(found) = self.table.lookup(page) else {
            return Err(AxError::BadState);
        };
        if found.page.paddr != frame {
            return Err(AxError::BadState);
        }
        let can_write = found.page.flags.contains(MappingFlags::WRITE);
        if can_write || !PageTableOf::<M>::add_write(&found) {
            return Err(AxError::AlreadyExists);
        }
        M::flush_local(block_around(page.as_usize(), PAGE_SIZE_4K));
        Ok(())
    }

    /// Makes instruction fetches see what has been written to a page of an object, if the object has a
    /// frame for it.
    fn clean_object_page(&self, record: &Mapping<M>, offset: usize) {
        let frame = |run: Run| run.frame;
        if let Ok(Some(frame)) = record.object.try_request(offset, Access::Read, 1, frame) {
            M::clean_code(frame, PAGE_SIZE_4K);
            M::sync_icache();
        }
    }

    /// Ends the visit of a mapping that [`NeedsObjectPage`](Resolved::NeedsObjectPage) came with.
    #[cfg(feature = "hal")]
    pub(super) fn end_visit(&self, of: ObjectArea) {
        // SAFETY: the visit keeps the record.
        unsafe { record::<M>(of).as_ref() }.end_visit();
    }

    /// Prepares the page at `vaddr` for a write: gives it a frame that no other object has. If the page
    /// has such a frame already, the page table still maps its former frame, and this unmaps that. The
    /// caller holds no lock. Ends the visit that [`NeedsObjectPage`](Resolved::NeedsObjectPage) came
    /// with.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    pub(super) fn load_object_page(&self, of: ObjectArea, vaddr: VirtAddr) -> Result<(), Fault> {
        // SAFETY: the visit keeps the record.
        let record = unsafe { record::<M>(of).as_ref() };
        let offset = record.offset_of(vaddr.align_down_4k().as_usize());
        let load = || match record.object.load(offset)? {
            Some(_) => Ok(()),
            None => record.object.unmap_former(offset),
        };
        let loaded = match self.must_not_wait(M::hart()) {
            true => Err(Fault::Nested),
            false => load().map_err(|error| match error {
                AxError::NoMemory => Fault::NoMemory,
                _ => Fault::Bus,
            }),
        };
        record.end_visit();
        loaded
    }
}

/// Returns the record of a mapping.
pub(super) fn record<M: Machine>(of: ObjectArea) -> NonNull<Mapping<M>> {
    let record = core::ptr::with_exposed_provenance_mut::<Mapping<M>>(of.record);
    // SAFETY: `map_view` made `of.record` from a `NonNull`, so it is not 0.
    unsafe { NonNull::new_unchecked(record) }
}

/// Returns the kind of memory of a mapping of an object with this policy.
fn memory_kind(policy: CachePolicy) -> MappingFlags {
    match policy {
        CachePolicy::Cached => MappingFlags::empty(),
        CachePolicy::Uncached => MappingFlags::UNCACHED,
        CachePolicy::Device => MappingFlags::DEVICE,
    }
}

/// Mappings of objects that an operation has ended. They are dropped with this value, when the
/// operation holds no lock any more.
pub struct EndedMappings<M: Machine>(Cell<Option<NonNull<Mapping<M>>>>);

impl<M: Machine> EndedMappings<M> {
    pub fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Records that `bytes` bytes of `area` are unmapped. The caller has locked them, and no TLB holds
    /// translations of them any more.
    pub fn unmapped(&self, area: &MemoryArea<Backend>, bytes: usize) {
        if let Some(of) = area.backend().object().filter(|_| bytes > 0) {
            // SAFETY: the bytes are mapped until now, and this is the operation that unmaps them.
            let list = unsafe { Mapping::unmapped(record(of), bytes, self.0.get()) };
            self.0.set(list);
        }
    }
}

impl<M: Machine> Drop for EndedMappings<M> {
    #[inline(always)]
    fn drop(&mut self) {
        if let list @ Some(_) = self.0.get() {
            // SAFETY: `unmapped` made the list, which is not used any more.
            unsafe { Mapping::drop_list(list) };
        }
    }
}
