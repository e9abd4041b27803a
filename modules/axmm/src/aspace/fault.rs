//! Page faults, of whichever area: the page that is missing is brought, if the access
//! is one that may be made.
//!
//! What a fault takes is in hand, and full of zeroes, before it says where it brings a page
//! ([`Hand`]); where that is not what the area wants, it is fetched outside, and the fault
//! looked at again. Faults do not wait for each other: of two on one page one is first,
//! and the other finds it there.

use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::MappingFlags;

use super::AddrSpace;
use super::claims::{Bringing, Claimed};
use crate::areas::Area;
use crate::backend::{Backend, Grain, Hand};
use crate::machine::{EVERYTHING, Machine};

/// What came of a page fault.
pub(crate) enum Resolved {
    /// The access can be made.
    Yes,
    /// The access may not be made.
    No,
    /// Frames for a fault of the grain should be in hand for it.
    Wants(Grain),
}

impl<M: Machine> AddrSpace<M> {
    /// Brings the page that an access at `vaddr` needs, if the area there allows
    /// the access. Answers whether the access can be made now: also when another
    /// hart has brought the page meanwhile, or this one had a stale translation.
    pub fn handle_page_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        let none = MappingFlags::empty();
        self.bring_more(vaddr, access, none, &mut Hand::empty(), None)
    }

    /// As [`handle_page_fault`](Self::handle_page_fault), with the frames in hand, for an
    /// area that has none of the rights `without`. Whoever calls stays on its hart, without
    /// interrupts.
    #[cfg(feature = "hal")]
    #[inline(always)]
    pub(crate) fn bring_page(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> bool {
        match self.resolve(vaddr, access, without, hand) {
            Resolved::Yes => true,
            Resolved::No => false,
            Resolved::Wants(grain) => self.bring_more(vaddr, access, without, hand, Some(grain)),
        }
    }

    /// The same, wherever the caller is, with what is wanted in hand first.
    #[cold]
    #[inline(never)]
    fn bring_more(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
        mut wanted: Option<Grain>,
    ) -> bool {
        loop {
            // With interrupts as the caller has them: it may be much that is zeroed.
            if let Some(grain) = wanted {
                hand.fetch(grain);
            }
            let _pin = M::pin();
            match self.resolve(vaddr, access, without, hand) {
                Resolved::Yes => return true,
                Resolved::No => return false,
                Resolved::Wants(grain) => wanted = Some(grain),
            }
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
            return Resolved::No;
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
                return Resolved::No;
            };
            if let Some(area) = self.area_for(&mut bringing, vaddr) {
                return self.resolve_in(area, vaddr, access, without, hand);
            }
        }
        Resolved::No
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
        if !area.flags().contains(access) || area.flags().intersects(without) {
            return Resolved::No;
        }
        if Backend::fault_at_once::<M>(area, &self.table, vaddr, hand) {
            M::publish_entries();
            return Resolved::Yes;
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
            Err(_) => self.is_there(vaddr, access),
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

    /// Whether the access can be made once this hart has forgotten what it knows.
    #[cold]
    fn is_there(&self, vaddr: VirtAddr, access: MappingFlags) -> Resolved {
        let Some(page) = self.table.query(vaddr) else {
            return Resolved::No;
        };
        M::forget_here(EVERYTHING);
        match page.flags.contains(access) {
            true => Resolved::Yes,
            false => Resolved::No,
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
