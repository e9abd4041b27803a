//! Page faults: the missing page is mapped if the area allows the access. Otherwise a [`Fault`]
//! says why not.
//!
//! ```text
//!   fault_in                a first attempt, which does not wait
//!     resolve_without_frames
//!   fault_in_at_length      then a loop until the access is possible or refused
//!     allocate                Needs: allocates frames
//!     unshare                 IsShared: copies a page or a table that another address space has, too
//!     load_object_page        NeedsObjectPage: the memory object gives the page a frame of its own
//!     resolve_in_turn         another attempt, once no other hart has locked the address
//! ```
//!
//! The steps of an attempt are in [`resolve`](super::resolve). The fault handler of a trap makes its
//! first attempt with a frame that it has allocated before (`fault_in_at_once`). Only if that fails
//! does it call [`fault_in`](AddrSpace::fault_in).
//!
//! Faults do not wait for each other: if two harts fault on a page, the later one finds it mapped.

use core::fmt;

use axerrno::AxError;
use memory_addr::{VirtAddr, VirtAddrRange};
use page_table_multiarch::MappingFlags;

use super::space::AddrSpace;
use crate::backing::{Grain, ObjectArea, PreallocatedFrames};
use crate::machine::Machine;

/// Why an access cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped at the address.
    Unmapped,
    /// The rights of the mapping do not allow the access.
    Denied,
    /// The page lies past the end of the memory object that is mapped there (`SIGBUS` of Linux).
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
    /// This attempt would have to wait: the fault slot is in use, another hart has locked the
    /// address, or the area cannot be found without a lock.
    NotNow,
    /// Frames for a fault of this grain must be preallocated first. If none can be allocated, the
    /// next attempt ends with `No(Fault::NoMemory)` or finds the page mapped by another hart.
    Needs(Grain),
    /// The page, or a page table on the path to it, is shared with another address space. The range
    /// is what the page or that table translates.
    IsShared(VirtAddrRange),
    /// The memory object must first allocate or copy the page, with the fault slot empty. Until the
    /// receiver calls `load_object_page` or `end_visit`, a visit (`Mapping::begin_visit`) keeps the
    /// record of the mapping.
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
        match self.resolve(request, frames) {
            Resolved::Yes => true,
            Resolved::NeedsObjectPage(of) => {
                self.end_visit(of);
                false
            }
            _ => false,
        }
    }

    /// Faults the page in, if the area has no right in `forbidden`. Frames are allocated, and
    /// other harts waited for, with interrupts as the caller has them.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
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
        match self.resolve_without_frames(request) {
            Resolved::Yes => Ok(()),
            first => self.fault_in_at_length(request, first),
        }
    }

    /// Faults the page in, after a first attempt without frames.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    #[cold]
    #[inline(never)]
    fn fault_in_at_length(&self, request: FaultRequest, first: Resolved) -> Result<(), Fault> {
        let FaultRequest { vaddr, access, .. } = request;
        let mut frames = PreallocatedFrames::empty();
        let mut resolved = first;
        loop {
            match resolved {
                Resolved::Yes => return Ok(()),
                Resolved::NotNow => {}
                Resolved::Needs(grain) => frames.allocate::<M>(grain),
                Resolved::IsShared(range) => {
                    if self.unshare(vaddr, access, range)? {
                        return Ok(());
                    }
                }
                Resolved::NeedsObjectPage(of) => self.load_object_page(of, vaddr)?,
                Resolved::No(fault) => return Err(fault),
            }
            resolved = self.resolve_in_turn(request, &mut frames)?;
        }
    }

    /// Makes an attempt to resolve a fault, once no other hart has locked the address.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    fn resolve_in_turn(
        &self,
        request: FaultRequest,
        frames: &mut PreallocatedFrames,
    ) -> Result<Resolved, Fault> {
        let vaddr = request.vaddr;
        let mut held = self.fault_slot(vaddr)?;
        if let Some(area) = self.area_for(&mut held.slot, vaddr) {
            return Ok(self.resolve_in(area, request, frames));
        }
        drop(held);
        // The lookup without a lock may have missed the area.
        match self.area_under_lock(vaddr) {
            Some(_) => Ok(Resolved::NotNow),
            None => Err(self.missing_area(vaddr)),
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
