//! Page faults: the missing page is faulted in if the area allows the access. Otherwise a
//! [`Fault`] says why not.
//!
//! A frame full of zeroes is preallocated ([`PreallocatedFrames`]) before the fault slot is taken. If the
//! area wants more, that is allocated with the slot empty, and the fault starts again. Faults
//! do not wait for each other: the second of two faults on one page finds it there.

use core::fmt;

use axerrno::AxError;
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::MappingFlags;

use super::AddrSpace;
use crate::areas::Area;
use crate::backing::{Backend, Grain, PreallocatedFrames};
use crate::locking::range_lock::{FaultGuard, LockedBy};
use crate::locking::shards::Shard;
use crate::machine::{ALL_ADDRESSES, Machine};

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

/// What came of a page fault.
pub(crate) enum Resolved {
    /// The access can be made.
    Yes,
    /// Frames for a fault of the grain should be in hand for it.
    Wants(Grain),
    /// The access cannot be made.
    No(Fault),
}

/// A fault slot in use, with interrupts out.
pub(crate) struct PinnedSlot<'a, M: Machine> {
    /// The slot.
    pub slot: FaultGuard<'a>,
    /// Last: an interrupt handler must find the slot empty.
    _pin: M::IrqGuard,
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
        self.fault_in(vaddr, access, MappingFlags::empty())
    }

    /// Whether [`fault`](Self::fault) makes the access possible.
    pub fn handle_page_fault(&self, vaddr: VirtAddr, access: MappingFlags) -> bool {
        self.fault(vaddr, access).is_ok()
    }

    /// Faults in the page with the frames in hand, if the area has none of the rights
    /// `without`, and no other hart is waited for. Returns whether the access can be made. The
    /// caller keeps interrupts out.
    #[cfg(feature = "hal")]
    #[inline(always)]
    pub(crate) fn fault_in_at_once(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut PreallocatedFrames,
    ) -> bool {
        matches!(self.resolve(vaddr, access, without, hand), Resolved::Yes)
    }

    /// As [`fault`](Self::fault), for an area that has none of the rights `without`. Frames
    /// are zeroed, and other harts waited for, with interrupts as the caller has them.
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
        without: MappingFlags,
    ) -> Result<(), Fault> {
        let mut hand = PreallocatedFrames::empty();
        loop {
            let mut pinned = self.fault_slot(vaddr)?;
            let resolved = match self.area_for(&mut pinned.slot, vaddr) {
                Some(area) => self.resolve_in(area, vaddr, access, without, &mut hand),
                None => {
                    drop(pinned);
                    // Another hart may be changing areas nearby.
                    self.area_for_certain(vaddr).ok_or(Fault::Unmapped)?;
                    continue;
                }
            };
            drop(pinned);
            match resolved {
                Resolved::Yes => return Ok(()),
                Resolved::Wants(grain) => hand.allocate::<M>(grain),
                Resolved::No(fault) => return Err(fault),
            }
        }
    }

    /// Resolves a fault, if the slot is free, no other hart has locked the address, and the
    /// area is found without a lock. `Nested` otherwise.
    #[cfg(any(feature = "hal", test))]
    #[inline(always)]
    fn resolve(
        &self,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut PreallocatedFrames,
    ) -> Resolved {
        let not_now = Resolved::No(Fault::Nested);
        let Some(mut slot) = self.try_fault_slot(vaddr) else {
            return not_now;
        };
        match self.area_for(&mut slot, vaddr) {
            Some(area) => self.resolve_in(area, vaddr, access, without, hand),
            None => not_now,
        }
    }

    #[inline(always)]
    fn resolve_in(
        &self,
        area: &Area<Backend>,
        vaddr: VirtAddr,
        access: MappingFlags,
        without: MappingFlags,
        hand: &mut PreallocatedFrames,
    ) -> Resolved {
        if !area.flags().contains(access) || area.flags().intersects(without | EXECUTE) {
            return self.resolve_code(area, vaddr, access, without, hand);
        }
        if Backend::fault_in_at_once::<M>(area, &self.table, vaddr, hand) {
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
        hand: &mut PreallocatedFrames,
    ) -> Resolved {
        if !area.flags().contains(access) || area.flags().intersects(without) {
            return Resolved::No(Fault::Denied);
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
        hand: &mut PreallocatedFrames,
    ) -> Resolved {
        let page = vaddr.align_down_4k().as_usize();
        let alone = area.part(&(page..page + PAGE_SIZE_4K));
        // Where some of the block was locked, the area may have changed beside the page, so
        // it is looked up after the locks. Operations that lock some of the block from now on
        // wait for this hart's fault slot.
        let shard = self.shards.at(page);
        let free = shard.filter(|shard| !shard.lock.is_block_locked(page));
        let whole = free.and_then(|shard| shard.shared_areas().peek(page));
        let area = whole.as_ref().map_or(&alone, |(area, _)| area);
        match Backend::fault_in::<M>(area, &self.table, vaddr, hand) {
            Ok(None) => {
                M::publish_entries();
                Resolved::Yes
            }
            Ok(Some(grain)) => Resolved::Wants(grain),
            Err(AxError::NoMemory) => self.is_there(vaddr, access, Resolved::No(Fault::NoMemory)),
            Err(_) => self.is_there(vaddr, access, Resolved::No(Fault::Unmapped)),
        }
    }

    /// Takes this hart's fault slot for a fault at `vaddr`, if that is free, and no hart has
    /// locked the address. The caller keeps interrupts out.
    #[inline(always)]
    pub(crate) fn try_fault_slot(&self, vaddr: VirtAddr) -> Option<FaultGuard<'_>> {
        let (hart, addr) = (M::hart(), vaddr.as_usize());
        let shard = self.shards.at(addr)?;
        let slot = shard.lock.fault_slot(hart, addr)?;
        let locked = shard.lock.locked_by(hart, addr);
        (locked == LockedBy::None).then_some(slot)
    }

    /// Takes this hart's fault slot for a fault at `vaddr`, once no other hart has locked the
    /// address, and keeps interrupts out. While it waits they are as the caller has them.
    ///
    /// # Errors
    ///
    /// `Unmapped` if nothing has ever been mapped in the shard; `Nested` if this is a fault of
    /// code that changes what is mapped there, or that handles a fault itself.
    #[inline(always)]
    pub(crate) fn fault_slot(&self, vaddr: VirtAddr) -> Result<PinnedSlot<'_, M>, Fault> {
        let pin = M::disable_irqs();
        match self.try_fault_slot(vaddr) {
            Some(slot) => Ok(PinnedSlot { slot, _pin: pin }),
            None => {
                drop(pin);
                self.fault_slot_in_turn(vaddr)
            }
        }
    }

    /// Takes the fault slot in the address's place in the queue: operations that ask later do
    /// not get ahead of the fault.
    #[cold]
    #[inline(never)]
    fn fault_slot_in_turn(&self, vaddr: VirtAddr) -> Result<PinnedSlot<'_, M>, Fault> {
        let _stay = M::disable_preemption();
        let (hart, addr) = (M::hart(), vaddr.as_usize());
        let shard = self.shards.at(addr).ok_or(Fault::Unmapped)?;
        // An operation that this hart waits for could be waiting for the slot that it holds.
        let mut shards = self.shards.made_from(0);
        if shards.any(|shard| shard.lock.is_faulting(hart))
            || shard.lock.index().is_held_by(hart)
            || shard.lock.locked_by(hart, addr) == LockedBy::ThisHart
        {
            return Err(Fault::Nested);
        }
        if self.is_busy(hart) {
            return self.fault_slot_amid(shard, vaddr);
        }
        let page = addr & !(PAGE_SIZE_4K - 1);
        let bounds = (page, page | (PAGE_SIZE_4K - 1));
        let pin = shard.lock.lock_index_in_turn(hart, bounds);
        // Ranges are locked with the index lock held: the slot is seen by the next of them.
        let slot = shard.lock.fault_slot(hart, addr);
        shard.lock.index().unlock();
        let slot = slot.ok_or(Fault::Nested)?;
        Ok(PinnedSlot { slot, _pin: pin })
    }

    /// Takes the fault slot for an interrupt handler that has interrupted an operation of
    /// this hart. It does not queue: an operation ahead of it could be waiting for the
    /// interrupted one.
    #[cold]
    fn fault_slot_amid(
        &self,
        shard: &Shard<M>,
        vaddr: VirtAddr,
    ) -> Result<PinnedSlot<'_, M>, Fault> {
        let mut turn = 0;
        loop {
            // The slot stays empty while the range is locked, so that operations need not
            // wait for it again and again.
            match shard.lock.locked_by(M::hart(), vaddr.as_usize()) {
                LockedBy::None => {
                    let pin = M::disable_irqs();
                    if let Some(slot) = self.try_fault_slot(vaddr) {
                        return Ok(PinnedSlot { slot, _pin: pin });
                    }
                }
                LockedBy::ThisHart => return Err(Fault::Nested),
                LockedBy::Another => {}
            }
            M::relax(turn);
            turn += 1;
        }
    }

    /// The part in its shard of the area that `vaddr` lies in, where this hart holds its
    /// fault slot. `None` is not certain: others may be changing areas nearby.
    #[inline(always)]
    pub(crate) fn area_for<'b>(
        &self,
        slot: &'b mut FaultGuard<'_>,
        vaddr: VirtAddr,
    ) -> Option<&'b Area<Backend>> {
        let cache = slot.cache();
        let inside = |area: &Area<Backend>| area.span().contains(&vaddr.as_usize());
        // SAFETY: the leaf was seen in this address space, whose areas exist as long as it.
        let known = cache.area.as_ref().is_some_and(inside) && unsafe { cache.sight.holds() };
        if !known {
            let shard = self.shards.at(vaddr.as_usize())?;
            let (area, sight) = shard.shared_areas().peek(vaddr.as_usize())?;
            cache.area = Some(area);
            cache.sight = sight;
        }
        cache.area.as_ref()
    }

    /// Whether the access can be made once this hart has forgotten what it knows;
    /// `missing` if there is no page.
    #[cold]
    fn is_there(&self, vaddr: VirtAddr, access: MappingFlags, missing: Resolved) -> Resolved {
        let Some(page) = self.table.query(vaddr) else {
            return missing;
        };
        M::flush_local(ALL_ADDRESSES);
        match page.flags.contains(access) {
            true => Resolved::Yes,
            false => Resolved::No(Fault::Denied),
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

    /// What is done under an address space's lock: frames are taken, and zeroed, before.
    fn resolve(space: &AddrSpace, hand: &mut PreallocatedFrames) -> Resolved {
        let none = MappingFlags::empty();
        space.resolve(VirtAddr::from_usize(BASE), RW, none, hand)
    }

    #[test]
    fn with_a_full_hand_only_tables_are_taken() {
        for grain in GRAINS {
            let space = space(grain);
            let mut hand = PreallocatedFrames::empty();
            let armed = fail_from(1);
            let Resolved::Wants(count) = resolve(&space, &mut hand) else {
                panic!("{grain:?}: an empty hand is enough");
            };
            assert!(!armed.has_fired(), "{grain:?}: it looks only");
            hand.allocate::<crate::machine::ThisMachine>(count);
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
            assert!(matches!(
                resolve(&space, &mut PreallocatedFrames::empty()),
                Resolved::Yes
            ));
            assert!(!armed.has_fired(), "{grain:?}");
        }
    }
}
