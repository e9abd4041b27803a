//! Page faults, of whichever area: the page that is missing is brought, if the access
//! is one that may be made. Otherwise a [`Fault`] says why not.
//!
//! What a fault takes is in hand, and full of zeroes, before it says where it brings a page
//! ([`Hand`]); where that is not what the area wants, it is fetched outside, and the fault
//! looked at again. Faults do not wait for each other: of two on one page one is first,
//! and the other finds it there.

use core::fmt;

use axerrno::AxError;
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::MappingFlags;

use super::AddrSpace;
use super::claims::{Bringing, Claimed};
use crate::areas::Area;
use crate::backend::{Backend, Grain, Hand};
use crate::machine::{EVERYTHING, Machine};

/// The right of areas whose pages come with more to do.
const EXECUTE: MappingFlags = MappingFlags::EXECUTE;

/// Why an access cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there.
    Unmapped,
    /// The rights of the mapping do not allow it.
    Denied,
    /// There is no memory for the page, or for a table on the way to it. The same access
    /// succeeds when there is.
    NoMemory,
    /// This hart is changing what is mapped there, or is in the middle of another page
    /// fault.
    Nested,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Unmapped => "not mapped",
            Self::Denied => "not allowed",
            Self::NoMemory => "out of memory",
            Self::Nested => "within a change of the mapping",
        })
    }
}

impl From<Fault> for AxError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoMemory => Self::NoMemory,
            Fault::Unmapped | Fault::Denied | Fault::Nested => Self::BadAddress,
        }
    }
}

/// What came of a page fault: the access can be made, or cannot as a [`Fault`] says. All in
/// one enum, which fits in two registers.
pub(crate) enum Resolved {
    /// The access can be made.
    Yes,
    /// Frames for a fault of the grain should be in hand for it.
    Wants(Grain),
    /// [`Fault::Unmapped`].
    Unmapped,
    /// [`Fault::Denied`].
    Denied,
    /// [`Fault::NoMemory`].
    NoMemory,
    /// [`Fault::Nested`].
    Nested,
}

impl<M: Machine> AddrSpace<M> {
    /// Brings the page that an access at `vaddr` needs, if the area there allows the
    /// access. Returns `Ok` when the access can be made: also if another hart has brought
    /// the page meanwhile, or this hart had a stale translation.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    pub fn fault(&self, vaddr: VirtAddr, access: MappingFlags) -> Result<(), Fault> {
        let none = MappingFlags::empty();
        self.bring_more(vaddr, access, none, &mut Hand::empty(), None)
    }

    /// Whether [`fault`](Self::fault) makes the access possible.
    pub fn handle_page_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        self.fault(vaddr, access).is_ok()
    }

    /// As [`fault`](Self::fault), with the frames in hand, for an area that has none of the
    /// rights `without`. Whoever calls stays on its hart, without
    /// interrupts.
    #[cfg(feature = "hal")]
    #[inline(always)]
    pub(crate) fn bring_page(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> Result<(), Fault> {
        match self.resolve(vaddr, access, without, hand) {
            Resolved::Yes => Ok(()),
            other => self.bring_more(vaddr, access, without, hand, Some(other)),
        }
    }

    /// Goes on after `resolved`, wherever the caller is, with what is wanted in hand first.
    #[cold]
    #[inline(never)]
    fn bring_more(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
        mut resolved: Option<Resolved>,
    ) -> Result<(), Fault> {
        loop {
            match resolved {
                None => {}
                // With interrupts as the caller has them: it may be much that is zeroed.
                Some(Resolved::Wants(grain)) => hand.fetch(grain),
                Some(Resolved::Yes) => return Ok(()),
                Some(Resolved::Unmapped) => return Err(Fault::Unmapped),
                Some(Resolved::Denied) => return Err(Fault::Denied),
                Some(Resolved::NoMemory) => return Err(Fault::NoMemory),
                Some(Resolved::Nested) => return Err(Fault::Nested),
            }
            let _pin = M::pin();
            resolved = Some(self.resolve(vaddr, access, without, hand));
        }
    }

    #[inline(always)]
    fn resolve(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> Resolved {
        let Some(mut bringing) = self.bringing(vaddr) else {
            return Resolved::Nested;
        };
        let Some(area) = self.area_for(&mut bringing, vaddr) else {
            drop(bringing);
            return self.look_again(vaddr, access, without, hand);
        };
        self.resolve_in(area, vaddr, access, without, hand)
    }

    /// For certain: `vaddr` may be in an area that another hart was changing.
    #[cold]
    #[inline(never)]
    fn look_again(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> Resolved {
        while self.area_for_certain(vaddr).is_some() {
            let Some(mut bringing) = self.bringing(vaddr) else {
                return Resolved::Nested;
            };
            if let Some(area) = self.area_for(&mut bringing, vaddr) {
                return self.resolve_in(area, vaddr, access, without, hand);
            }
        }
        Resolved::Unmapped
    }

    #[inline(always)]
    fn resolve_in(
        &self,
        area: &Area<Backend>,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> Resolved {
        if !area.flags().contains(access) || area.flags().intersects(without | EXECUTE) {
            return self.resolve_code(area, vaddr, access, without, hand);
        }
        if Backend::fault_at_once::<M>(area, &self.table, vaddr, hand) {
            M::publish_entries();
            return Resolved::Yes;
        }
        self.resolve_slowly(area, vaddr, access, hand)
    }

    /// As [`resolve_in`](Self::resolve_in), where the area forbids the access, or its pages
    /// may be executed. Then every hart fetches anew what is in hand before it is mapped.
    #[cold]
    #[inline(never)]
    fn resolve_code(
        &self,
        area: &Area<Backend>,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> Resolved {
        if !area.flags().contains(access) || area.flags().intersects(without) {
            return Resolved::Denied;
        }
        if self.table.query(vaddr).is_none() {
            hand.sync_icache::<M>();
        }
        self.resolve_slowly(area, vaddr, access, hand)
    }

    /// The same where it takes more than one frame, or a table, or is there. Where another
    /// works on the block it is the page alone.
    #[cold]
    #[inline(never)]
    fn resolve_slowly(
        &self,
        area: &Area<Backend>,
        vaddr: VirtAddr,
        access: MappingFlags,
        hand: &mut Hand,
    ) -> Resolved {
        let page = vaddr.align_down_4k().as_usize();
        let alone = area.part(&(page..page + PAGE_SIZE_4K));
        // What was claimed beside the page may be no area's any more: the area is looked up
        // behind that. Who claims something there from now on waits for this hart.
        let part = self.part_at(page);
        let free = part.filter(|part| !part.claims.is_block_claimed(page));
        let whole = free.and_then(|part| part.areas.peek(page));
        let area = whole.as_ref().map_or(&alone, |(area, _)| area);
        match Backend::fault::<M>(area, &self.table, vaddr, hand) {
            Ok(None) => {
                M::publish_entries();
                Resolved::Yes
            }
            Ok(Some(grain)) => Resolved::Wants(grain),
            Err(AxError::NoMemory) => self.is_there(vaddr, access, Resolved::NoMemory),
            Err(_) => self.is_there(vaddr, access, Resolved::Unmapped),
        }
    }

    /// Says that this hart, which stays on it, brings a page at `vaddr`, when nobody else
    /// has claimed that. `None` if this is a fault of the code that changes what is mapped
    /// there, or that brings a page itself.
    #[inline(always)]
    pub(crate) fn bringing(&self, vaddr: VirtAddr) -> Option<Bringing<'_>> {
        let (hart, addr) = (M::hart(), vaddr.as_usize());
        if let Some(bringing) = self.claims.bring(hart, addr)
            && self.claims.claimed(hart, addr) == Claimed::No
        {
            return Some(bringing);
        }
        self.bringing_later(hart, addr)
    }

    /// The area that `vaddr` lies in. `None` says nothing for certain.
    #[inline(always)]
    pub(crate) fn area_for<'b>(
        &self,
        bringing: &'b mut Bringing<'_>,
        vaddr: VirtAddr,
    ) -> Option<&'b Area<Backend>> {
        let recent = bringing.recent();
        let inside = |area: &Area<Backend>| area.span().contains(&vaddr.as_usize());
        // SAFETY: the areas exist as long as the address space does.
        let known = recent.area.as_ref().is_some_and(inside) && unsafe { recent.sight.holds() };
        if !known {
            let part = self.part_at(vaddr.as_usize())?;
            let (area, sight) = part.areas.peek(vaddr.as_usize())?;
            recent.area = Some(area);
            recent.sight = sight;
        }
        recent.area.as_ref()
    }

    /// Whether the access can be made once this hart has forgotten what it knows;
    /// `missing` if there is no page.
    #[cold]
    fn is_there(&self, vaddr: VirtAddr, access: MappingFlags, missing: Resolved) -> Resolved {
        let Some(page) = self.table.query(vaddr) else {
            return missing;
        };
        M::forget_here(EVERYTHING);
        match page.flags.contains(access) {
            true => Resolved::Yes,
            false => Resolved::Denied,
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
        test_memory::give();
        let base = VirtAddr::from_usize(BASE);
        let space = AddrSpace::new_empty(base, 1 << 30).unwrap();
        space.map_alloc_with(base, SIZE, RW, false, grain).unwrap();
        space
    }

    fn tables(space: &AddrSpace) -> usize {
        space.table().tables(BASE..BASE + SIZE).iter().sum()
    }

    /// What is done under an address space's lock: frames are taken, and zeroed, before.
    fn resolve(space: &AddrSpace, hand: &mut Hand) -> Resolved {
        let none = MappingFlags::empty();
        space.resolve(VirtAddr::from_usize(BASE), RW, none, hand)
    }

    #[test]
    fn with_a_full_hand_only_tables_are_taken() {
        for grain in GRAINS {
            let space = space(grain);
            let mut hand = Hand::empty();
            let armed = fail_from(1);
            let Resolved::Wants(count) = resolve(&space, &mut hand) else {
                panic!("{grain:?}: an empty hand is enough");
            };
            assert!(!armed.has_fired(), "{grain:?}: it looks only");
            hand.fetch(count);
            let before = tables(&space);
            // A large page is in the table of the level above the lowest.
            let missing = if grain == Grain::Large { 2 } else { 3 };
            let armed = fail_from(missing + 1);
            assert!(matches!(resolve(&space, &mut hand), Resolved::Yes));
            assert!(!armed.has_fired(), "{grain:?}: more than the tables");
            assert_eq!(tables(&space), before + missing, "{grain:?}");
        }
    }

    #[test]
    fn for_a_page_that_is_there_nothing_is_taken() {
        for grain in GRAINS {
            let space = space(grain);
            assert!(space.handle_page_fault(BASE.into(), RW));
            let armed = fail_from(1);
            assert!(space.handle_page_fault(BASE.into(), RW));
            assert!(matches!(resolve(&space, &mut Hand::empty()), Resolved::Yes));
            assert!(!armed.has_fired(), "{grain:?}");
        }
    }
}
