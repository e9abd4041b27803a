//! One attempt to resolve a page fault. The hart holds its fault slot from the lookup of the area to
//! the end, so no operation changes the area or the page meanwhile.
//!
//! ```text
//!   resolve                takes the fault slot, or gives up
//!     area_for               in the hart's area cache, or looked up without a lock
//!     resolve_in             checks rights, fills the page table entry
//!       resolve_first_read     maps the zero frame
//!       resolve_present        the page is there: flushes a stale translation, or adds the right
//!                              to write if no other address space has the page
//!       resolve_in_object      the page of a memory object
//!       resolve_slowly         large pages, pages around, missing page tables
//! ```

use axerrno::AxError;
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::fault::{Fault, FaultRequest, Resolved};
use super::space::AddrSpace;
use crate::addr::va_range;
use crate::backing::{Backend, PreallocatedFrames};
use crate::locking::range_lock::FaultGuard;
use crate::machine::{ALL_ADDRESSES, Machine};
use crate::page_table::Lookup;
use crate::page_table::frames::PageTableOf;
use crate::zero_frame::zero_frame;

const EXECUTE: MappingFlags = MappingFlags::EXECUTE;

impl<M: Machine> AddrSpace<M> {
    /// Makes an attempt to resolve a fault with preallocated frames. The caller keeps interrupts out.
    #[cfg(any(feature = "hal", test))]
    #[inline(always)]
    pub(super) fn resolve(
        &self,
        request: FaultRequest,
        frames: &mut PreallocatedFrames,
    ) -> Resolved {
        self.at_once(request.vaddr, |area| self.resolve_in(area, request, frames))
    }

    /// Makes an attempt to resolve a fault without frames. Most such faults that succeed are on a
    /// page that is there, or read a page for the first time.
    #[inline(always)]
    pub(super) fn resolve_without_frames(&self, request: FaultRequest) -> Resolved {
        let _irqs_off = M::disable_irqs();
        self.at_once(request.vaddr, |area| {
            if Self::allows_at_once(area, request) {
                if let Some(resolved) = self.resolve_in_object(area, request) {
                    return resolved;
                }
                if self.may_be_shared(area)
                    && !self.maps_zero_frame(area, request)
                    && let found = self.table.lookup(request.vaddr)
                    && let Some(resolved) = self.resolve_found(area, request, found)
                {
                    return resolved;
                }
            }
            self.resolve_in(area, request, &mut PreallocatedFrames::empty())
        })
    }

    /// Takes the fault slot for `vaddr`, and resolves a fault in the area there, unless that would
    /// have to wait.
    #[inline(always)]
    fn at_once(
        &self,
        vaddr: VirtAddr,
        resolve: impl FnOnce(&MemoryArea<Backend>) -> Resolved,
    ) -> Resolved {
        let Some(mut slot) = self.try_fault_slot(vaddr) else {
            return Resolved::NotNow;
        };
        let area = self.area_for(&mut slot, vaddr);
        area.map_or(Resolved::NotNow, resolve)
    }

    /// Resolves a fault in `area`. The hart holds its fault slot for the address.
    #[inline(always)]
    pub(super) fn resolve_in(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
        frames: &mut PreallocatedFrames,
    ) -> Resolved {
        if !Self::allows_at_once(area, request) {
            return self.resolve_denied_or_code(area, request, frames);
        }
        if self.maps_zero_frame(area, request) {
            return self.resolve_first_read(area, request);
        }
        if Backend::fault_in_at_once::<M>(area, &self.table, request.vaddr, frames) {
            M::publish_entries();
            return Resolved::Yes;
        }
        self.resolve_slowly(area, request, frames)
    }

    /// Returns whether the area allows the access, and its pages are not code.
    #[inline(always)]
    fn allows_at_once(area: &MemoryArea<Backend>, request: FaultRequest) -> bool {
        let handled_slowly = request.forbidden | EXECUTE;
        area.flags().contains(request.access) && !area.flags().intersects(handled_slowly)
    }

    /// Returns whether pages of the area may have frames that other address spaces have as well.
    #[inline(always)]
    fn may_be_shared(&self, area: &MemoryArea<Backend>) -> bool {
        cfg!(feature = "objects") && !self.tlb_state.is_kernel() && area.backend().owns_frames()
    }

    /// Resolves a fault in an area that may forbid the access, or whose pages may be executed.
    /// Instruction fetches must see the zeroes of a new page, so its frame is cleaned first.
    #[cold]
    #[inline(never)]
    fn resolve_denied_or_code(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
        frames: &mut PreallocatedFrames,
    ) -> Resolved {
        let FaultRequest {
            vaddr,
            access,
            forbidden,
        } = request;
        if !area.flags().contains(access) || area.flags().intersects(forbidden) {
            return Resolved::No(Fault::Denied);
        }
        if self.table.query(vaddr).is_none() {
            frames.sync_icache::<M>();
        }
        self.resolve_slowly(area, request, frames)
    }

    /// Returns whether the fault maps the zero frame: a user program reads a page, and a fault in
    /// the area maps one page. Not in the kernel's address space, because the first write after it
    /// could not be resolved in an interrupt handler: copying the page may wait for other harts.
    #[inline(always)]
    fn maps_zero_frame(&self, area: &MemoryArea<Backend>, request: FaultRequest) -> bool {
        let is_read = !request.access.contains(MappingFlags::WRITE);
        cfg!(feature = "objects")
            && is_read
            && !self.tlb_state.is_kernel()
            && area.backend().has_page_grain()
    }

    /// Resolves a read of a page that has never been written: maps the zero frame, if the page is
    /// missing.
    #[inline(always)]
    fn resolve_first_read(&self, area: &MemoryArea<Backend>, request: FaultRequest) -> Resolved {
        let page = request.vaddr.align_down_4k();
        let flags = area.flags().difference(MappingFlags::WRITE);
        if let Ok(true) = self.table.map_page(page, flags, zero_frame()) {
            M::publish_entries();
            return Resolved::Yes;
        }
        self.resolve_first_read_slowly(area, request)
    }

    /// Resolves a read of a page that is there, or whose page tables are missing.
    #[cold]
    #[inline(never)]
    fn resolve_first_read_slowly(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
    ) -> Resolved {
        let page = request.vaddr.align_down_4k();
        let flags = area.flags().difference(MappingFlags::WRITE);
        match self.table.map_with_tables(page, 0, flags, zero_frame()) {
            Ok(()) => {
                M::publish_entries();
                Resolved::Yes
            }
            Err(AxError::NoMemory) => Resolved::No(Fault::NoMemory),
            Err(_) => {
                let found = self.resolve_present(area, request);
                found.unwrap_or(Resolved::No(Fault::Unmapped))
            }
        }
    }

    /// Resolves a fault that needs more than one frame, or a page table, or whose page is
    /// present. If another hart has locked some of the 2 MiB block around it, only the page
    /// itself is mapped.
    #[cold]
    #[inline(never)]
    fn resolve_slowly(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
        frames: &mut PreallocatedFrames,
    ) -> Resolved {
        let vaddr = request.vaddr;
        let page = vaddr.align_down_4k();
        let start = page.as_usize();
        if let Some(resolved) = self.resolve_in_object(area, request) {
            return resolved;
        }
        if let Some(resolved) = self.resolve_present(area, request) {
            return resolved;
        }
        let area_of_page = area.part(va_range(start, start + PAGE_SIZE_4K));
        // An operation that locks some of the block from now on waits for this hart's fault slot.
        // So if none of the block is locked now, nothing there is unmapped or protected meanwhile.
        // `area` may have been read while some of it was locked, so it is looked up again.
        let shard = self.shards.at(start);
        let unlocked = shard.filter(|shard| !shard.lock.is_block_locked(page));
        let whole_area = unlocked.and_then(|shard| shard.shared_areas().peek(page));
        let area = whole_area.as_ref().map_or(&area_of_page, |(area, _)| area);
        let missing = match Backend::fault_in::<M>(area, &self.table, vaddr, frames) {
            Ok(None) => {
                M::publish_entries();
                return Resolved::Yes;
            }
            Ok(Some(grain)) => return Resolved::Needs(grain),
            Err(AxError::NoMemory) => Fault::NoMemory,
            // Another hart has mapped the page meanwhile, or the backend maps none on faults.
            Err(_) => Fault::Unmapped,
        };
        let found = self.resolve_present(area, request);
        found.unwrap_or(Resolved::No(missing))
    }

    /// Resolves a fault on a page that is mapped, or that a shared table translates. Otherwise
    /// returns `None`.
    #[inline(never)]
    pub(super) fn resolve_present(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
    ) -> Option<Resolved> {
        self.resolve_found(area, request, self.table.lookup(request.vaddr))
    }

    /// Resolves a fault on a page that has been looked up:
    ///
    /// - No page and no shared table: `None`.
    /// - A shared table: `IsShared`.
    /// - The page allows the access: this hart's TLB held a stale translation. All of the address space
    ///   is flushed, because only that also drops entries that lead to tables.
    /// - The page does not, but the area owns its frames: it is written for the first time since it was
    ///   shared. It gets the right to write if it has no other owner, or is copied. Otherwise
    ///   `IsShared`.
    /// - Otherwise `Denied`.
    #[inline(always)]
    fn resolve_found(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
        found: Lookup<'_>,
    ) -> Option<Resolved> {
        let found = match found {
            Lookup::Missing => return None,
            Lookup::Shared(block) => {
                return Some(Resolved::IsShared(va_range(block.start, block.end)));
            }
            Lookup::Page(found) => found,
        };
        let page = &found.page;
        if page.flags.contains(request.access) {
            M::flush_local(ALL_ADDRESSES);
            return Some(Resolved::Yes);
        }
        if !(cfg!(feature = "objects") && area.backend().owns_frames()) {
            return Some(Resolved::No(Fault::Denied));
        }
        // This hart's fault slot keeps forks away. So a page with one owner keeps one until its entry
        // is changed.
        if PageTableOf::<M>::is_exclusive(page) && PageTableOf::<M>::add_write(&found) {
            let start = page.vaddr.as_usize();
            M::flush_local(start..start + page.size);
            return Some(Resolved::Yes);
        }
        Some(match self.copy_in_fault(&found, area.flags()) {
            true => Resolved::Yes,
            false => {
                let start = page.vaddr.as_usize();
                Resolved::IsShared(va_range(start, start.saturating_add(page.size)))
            }
        })
    }

    /// Returns the area that `vaddr` lies in, as far as it lies in the shard of `vaddr`. The
    /// hart holds its fault slot for `vaddr`. `None` is not certain, because other harts may be
    /// changing areas nearby.
    #[inline(always)]
    pub(super) fn area_for<'b>(
        &self,
        slot: &'b mut FaultGuard<'_>,
        vaddr: VirtAddr,
    ) -> Option<&'b MemoryArea<Backend>> {
        let cache = slot.cache();
        let inside = |area: &MemoryArea<Backend>| area.va_range().contains(vaddr);
        // SAFETY: the snapshot is of a leaf of this address space, whose leaves are freed only
        // with the address space.
        let known =
            cache.area.as_ref().is_some_and(inside) && unsafe { cache.snapshot.is_current() };
        if !known {
            let shard = self.shards.at(vaddr.as_usize())?;
            let (area, snapshot) = shard.shared_areas().peek(vaddr)?;
            cache.area = Some(area);
            cache.snapshot = snapshot;
        }
        cache.area.as_ref()
    }
}
