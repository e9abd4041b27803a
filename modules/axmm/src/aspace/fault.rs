//! Page faults, of whichever area: the page that is missing is brought, if the access
//! is one that may be made.
//!
//! What a fault takes is in hand, and full of zeroes, before the address space is locked
//! for it ([`Hand`]); where that is not what the area wants, it is fetched outside, and
//! the fault looked at again.

use memory_addr::VirtAddr;
use page_table_multiarch::MappingFlags;

use super::AddrSpace;
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
    pub fn handle_page_fault(&mut self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        let mut hand = Hand::empty();
        loop {
            match self.resolve(vaddr, access, MappingFlags::empty(), &mut hand) {
                Resolved::Yes => return true,
                Resolved::No => return false,
                Resolved::Wants(grain) => hand.fetch(grain),
            }
        }
    }

    /// As [`handle_page_fault`](Self::handle_page_fault), with the frames in hand, and
    /// for an area that has none of the rights `without`.
    #[inline(always)]
    pub(crate) fn resolve(
        &mut self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut Hand,
    ) -> Resolved {
        let recent = self.faulted.as_ref();
        let area = match recent.filter(|area| area.span().contains(&vaddr.as_usize())) {
            Some(area) => area,
            None => match self.areas.find(vaddr.as_usize()) {
                Some(area) => self.faulted.insert(area.clone()),
                None => return Resolved::No,
            },
        };
        if !area.flags().contains(access) || area.flags().intersects(without) {
            return Resolved::No;
        }
        match Backend::fault::<M>(area, &mut self.table, vaddr, hand, &self.context) {
            Ok(None) => {
                M::publish_entries();
                Resolved::Yes
            }
            Ok(Some(grain)) => Resolved::Wants(grain),
            Err(_) => self.is_there(vaddr, access),
        }
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
        let mut space = AddrSpace::new_empty(base, 1 << 30).unwrap();
        space.map_alloc_with(base, SIZE, RW, false, grain).unwrap();
        space
    }

    fn tables(space: &AddrSpace) -> usize {
        space.page_table().tables(BASE..BASE + SIZE).iter().sum()
    }

    /// What is done under an address space's lock: frames are taken, and zeroed, before.
    fn resolve(space: &mut AddrSpace, hand: &mut Hand) -> Resolved {
        let none = MappingFlags::empty();
        space.resolve(VirtAddr::from_usize(BASE), RW, none, hand)
    }

    #[test]
    fn with_a_full_hand_only_tables_are_taken() {
        for grain in GRAINS {
            let mut space = space(grain);
            let mut hand = Hand::empty();
            let armed = fail_from(1);
            let Resolved::Wants(count) = resolve(&mut space, &mut hand) else {
                panic!("{grain:?}: an empty hand is enough");
            };
            assert!(!armed.has_fired(), "{grain:?}: it looks only");
            hand.fetch(count);
            let before = tables(&space);
            // A large page is in the table of the level above the lowest.
            let missing = if grain == Grain::Large { 2 } else { 3 };
            let armed = fail_from(missing + 1);
            assert!(matches!(resolve(&mut space, &mut hand), Resolved::Yes));
            assert!(!armed.has_fired(), "{grain:?}: more than the tables");
            assert_eq!(tables(&space), before + missing, "{grain:?}");
        }
    }

    #[test]
    fn for_a_page_that_is_there_nothing_is_taken() {
        for grain in GRAINS {
            let mut space = space(grain);
            assert!(space.handle_page_fault(BASE.into(), RW));
            let armed = fail_from(1);
            assert!(space.handle_page_fault(BASE.into(), RW));
            assert!(matches!(
                resolve(&mut space, &mut Hand::empty()),
                Resolved::Yes
            ));
            assert!(!armed.has_fired(), "{grain:?}");
        }
    }
}
