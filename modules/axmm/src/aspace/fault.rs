//! Page faults: the missing page is mapped if the area allows the access. Otherwise a [`Fault`]
//! says why not.
//!
//! ```text
//!   fault_in          loop until the access is possible or refused
//!     fault_slot        waits while another hart has locked the address
//!     area_for          in the hart's area cache, or looked up without a lock
//!     resolve_in        checks rights, fills the page table entry; may need frames
//!     allocate          these frames, with the slot empty, for the next round
//!     unshare           copies a page or a page table that another address space has as well
//!     load_object_page  makes a memory object give the page a frame of its own
//! ```
//!
//! The fault handler of a trap takes the same steps once, without waiting (`fault_in_at_once`),
//! with one frame that it has allocated before. Only if that fails does it call
//! [`fault_in`](AddrSpace::fault_in).
//!
//! Faults do not wait for each other: if two harts fault on a page, the later one finds it mapped.

use core::fmt;

use axerrno::AxError;
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr, VirtAddrRange};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::space::AddrSpace;
use crate::addr::va_range;
use crate::backing::{Backend, Grain, ObjectArea, PreallocatedFrames};
use crate::locking::range_lock::FaultGuard;
use crate::machine::{ALL_ADDRESSES, Machine};
use crate::page_table::Lookup;
use crate::page_table::frames::PageTableOf;
use crate::zero_frame::zero_frame;

const EXECUTE: MappingFlags = MappingFlags::EXECUTE;

/// Why an access cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped at the address.
    Unmapped,
    /// The rights of the mapping do not allow the access.
    Denied,
    /// The page lies past the end of the memory object that is mapped there, as after `SIGBUS` of
    /// Linux.
    Bus,
    /// There is no memory for the page, or for a page table on the path to it. The access
    /// succeeds once there is.
    NoMemory,
    /// The access would have to wait and must not, because this hart is in the middle of another
    /// page fault or of an operation ([`AddrSpace`]).
    Nested,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Unmapped => "not mapped",
            Self::Denied => "not allowed",
            Self::Bus => "past the end of the memory object",
            Self::NoMemory => "out of memory",
            Self::Nested => "within a change of the mapping",
        })
    }
}

impl From<Fault> for AxError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoMemory => Self::NoMemory,
            Fault::Unmapped | Fault::Denied | Fault::Bus | Fault::Nested => Self::BadAddress,
        }
    }
}

/// An access that has faulted. Passed by value, so that it stays in registers on the fast path.
#[derive(Clone, Copy)]
pub(super) struct FaultRequest {
    /// The address of the access.
    pub vaddr: VirtAddr,
    /// The rights that the access needs.
    pub access: MappingFlags,
    /// Rights that the area must not have: the kernel may not access what is mapped for users.
    pub forbidden: MappingFlags,
}

/// The outcome of one attempt to resolve a page fault.
pub(super) enum Resolved {
    /// The access can be made.
    Yes,
    /// Frames for a fault of this grain must be preallocated first. If none can be allocated, the
    /// next attempt ends with `No(Fault::NoMemory)` or finds the page mapped by another hart.
    Needs(Grain),
    /// The page, or the page table on the path to it, is shared with another address space. It
    /// translates this range.
    IsShared(VirtAddrRange),
    /// The memory object must first make the page its own.
    #[cfg_attr(
        not(feature = "objects"),
        expect(dead_code, reason = "no area shows an object")
    )]
    NeedsObjectPage(ObjectArea),
    /// The access cannot be made.
    No(Fault),
}

impl<M: Machine> AddrSpace<M> {
    /// Makes an access at `vaddr` possible, if the area there allows it: maps the page, or
    /// flushes a stale translation from this hart's TLB. Returns `Ok` also if another hart has
    /// mapped the page meanwhile.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    pub fn fault(&self, vaddr: VirtAddr, access: MappingFlags) -> Result<(), Fault> {
        self.fault_in(vaddr, access, MappingFlags::empty())
    }

    /// Returns whether [`fault`](Self::fault) makes the access possible.
    pub fn handle_page_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        self.fault(vaddr, access).is_ok()
    }

    /// Faults the page in with the preallocated `frames`, and without waiting for another hart,
    /// if the area has no right in `forbidden`. Returns whether the access can be made.
    /// The caller keeps interrupts out.
    #[cfg(feature = "hal")]
    #[inline(always)]
    pub(crate) fn fault_in_at_once(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        forbidden: MappingFlags,
        frames: &mut PreallocatedFrames,
    ) -> bool {
        let request = FaultRequest {
            vaddr,
            access,
            forbidden,
        };
        matches!(self.resolve(request, frames), Resolved::Yes)
    }

    /// Faults the page in, if the area has no right in `forbidden`. Frames are allocated, and
    /// other harts waited for, with interrupts as the caller has them.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    #[cold]
    #[inline(never)]
    pub(crate) fn fault_in(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        forbidden: MappingFlags,
    ) -> Result<(), Fault> {
        let request = FaultRequest {
            vaddr,
            access,
            forbidden,
        };
        let mut frames = PreallocatedFrames::empty();
        loop {
            let mut held = self.fault_slot(vaddr)?;
            let resolved = match self.area_for(&mut held.slot, vaddr) {
                Some(area) => self.resolve_in(area, request, &mut frames),
                None => {
                    drop(held);
                    // The lookup without a lock may have missed the area.
                    if self.area_under_lock(vaddr).is_none() {
                        return Err(self.missing_area(vaddr));
                    }
                    continue;
                }
            };
            if let Resolved::NeedsObjectPage(of) = resolved {
                self.visit_object(of);
            }
            drop(held);
            match resolved {
                Resolved::Yes => return Ok(()),
                Resolved::Needs(grain) => frames.allocate::<M>(grain),
                Resolved::IsShared(range) => {
                    if self.unshare(vaddr, access, range)? {
                        return Ok(());
                    }
                }
                Resolved::NeedsObjectPage(of) => self.load_object_page(of, vaddr)?,
                Resolved::No(fault) => return Err(fault),
            }
        }
    }

    /// Returns why no area was found at `vaddr`: there is none, or this hart holds the index lock
    /// and may be changing the areas.
    #[cold]
    fn missing_area(&self, vaddr: VirtAddr) -> Fault {
        let shard = self.shards.at(vaddr.as_usize());
        match shard.is_some_and(|shard| shard.lock.index().is_held_by(M::hart())) {
            true => Fault::Nested,
            false => Fault::Unmapped,
        }
    }

    /// Resolves a fault, if the fault slot is free, no hart has locked the address, and the area
    /// is found without a lock. Otherwise the outcome is `Nested`, which here means only that this
    /// attempt would have to wait. The caller then calls [`fault_in`](Self::fault_in).
    #[cfg(any(feature = "hal", test))]
    #[inline(always)]
    fn resolve(&self, request: FaultRequest, frames: &mut PreallocatedFrames) -> Resolved {
        let not_now = Resolved::No(Fault::Nested);
        let Some(mut slot) = self.try_fault_slot(request.vaddr) else {
            return not_now;
        };
        match self.area_for(&mut slot, request.vaddr) {
            Some(area) => self.resolve_in(area, request, frames),
            None => not_now,
        }
    }

    /// Resolves a fault in `area`. The hart holds its fault slot for the address.
    #[inline(always)]
    fn resolve_in(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
        frames: &mut PreallocatedFrames,
    ) -> Resolved {
        let handled_slowly = request.forbidden | EXECUTE;
        if !area.flags().contains(request.access) || area.flags().intersects(handled_slowly) {
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
    /// could not be resolved in an interrupt handler.
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
    #[cold]
    fn resolve_first_read(&self, area: &MemoryArea<Backend>, request: FaultRequest) -> Resolved {
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
    /// returns `None`. If the page allows the access, this hart's TLB held a stale translation, which
    /// is flushed with all others of the address space: only such a flush also drops the entries that
    /// lead to tables. If only the area allows the access, the page is written for the first time
    /// since it was shared.
    #[inline]
    pub(super) fn resolve_present(
        &self,
        area: &MemoryArea<Backend>,
        request: FaultRequest,
    ) -> Option<Resolved> {
        let found = match self.table.lookup(request.vaddr) {
            Lookup::Missing => return None,
            Lookup::Shared(block) => {
                return Some(Resolved::IsShared(va_range(block.start, block.end)));
            }
            Lookup::Page(found) => found,
        };
        let page = &found.page;
        let is_allowed = page.flags.contains(request.access);
        let may_be_shared = cfg!(feature = "objects") && area.backend().owns_frames();
        if !is_allowed && !may_be_shared {
            return Some(Resolved::No(Fault::Denied));
        }
        // No operation changes the page meanwhile. So if no other address space has it now, none
        // gets it before the right to write is added.
        let is_exclusive =
            || PageTableOf::<M>::is_exclusive(page) && PageTableOf::<M>::add_write(&found);
        if !is_allowed && !is_exclusive() {
            let start = page.vaddr.as_usize();
            let range = va_range(start, start.saturating_add(page.size));
            return Some(Resolved::IsShared(range));
        }
        M::flush_local(ALL_ADDRESSES);
        Some(Resolved::Yes)
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

#[cfg(test)]
mod tests {
    use axalloc::fault::fail_from;

    use super::*;
    use crate::test_memory;

    const BASE: usize = 0x4000_0000;
    const SIZE: usize = 4 << 20;
    const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
    const GRAINS: [Grain; 3] = [Grain::Page, Grain::Around(16), Grain::Large];

    fn space(grain: Grain) -> AddrSpace {
        test_memory::add_once();
        let base = VirtAddr::from_usize(BASE);
        let space = AddrSpace::new_empty(base, 1 << 30).unwrap();
        space.map_alloc_with(base, SIZE, RW, false, grain).unwrap();
        space
    }

    fn tables(space: &AddrSpace) -> usize {
        space.table().tables(BASE..BASE + SIZE).iter().sum()
    }

    /// Resolves a fault at `BASE` as the trap handler does.
    fn resolve(space: &AddrSpace, frames: &mut PreallocatedFrames) -> Resolved {
        let request = FaultRequest {
            vaddr: VirtAddr::from_usize(BASE),
            access: RW,
            forbidden: MappingFlags::empty(),
        };
        space.resolve(request, frames)
    }

    #[test]
    fn with_preallocated_frames_only_tables_are_allocated() {
        for grain in GRAINS {
            let space = space(grain);
            let mut frames = PreallocatedFrames::empty();
            let armed = fail_from(1);
            let Resolved::Needs(grain_needed) = resolve(&space, &mut frames) else {
                panic!("{grain:?}: resolved without a frame");
            };
            assert!(
                !armed.has_fired(),
                "{grain:?}: a fault allocates no frame while it holds its slot"
            );
            frames.allocate::<crate::machine::ThisMachine>(grain_needed);
            let before = tables(&space);
            // A large page is in the table of the level above the lowest.
            let missing = if grain == Grain::Large { 2 } else { 3 };
            let armed = fail_from(missing + 1);
            assert!(matches!(resolve(&space, &mut frames), Resolved::Yes));
            assert!(
                !armed.has_fired(),
                "{grain:?}: more than the missing tables was allocated"
            );
            assert_eq!(tables(&space), before + missing, "{grain:?}");
        }
    }

    #[test]
    fn a_fault_on_a_present_page_allocates_nothing() {
        for grain in GRAINS {
            let space = space(grain);
            assert!(space.handle_page_fault(BASE.into(), RW));
            let armed = fail_from(1);
            assert!(space.handle_page_fault(BASE.into(), RW));
            assert!(matches!(
                resolve(&space, &mut PreallocatedFrames::empty()),
                Resolved::Yes
            ));
            assert!(!armed.has_fired(), "{grain:?}");
        }
    }
}
