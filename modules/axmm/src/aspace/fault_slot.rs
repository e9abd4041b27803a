//! How a page fault, or a copy of a page, keeps operations away from its page: this hart's fault
//! slot, held with interrupts out.

use memory_addr::{MemoryAddr, VirtAddr};

use super::fault::Fault;
use super::space::AddrSpace;
use crate::addr::va_range;
use crate::locking::range_lock::{FaultGuard, LockedBy, RangeLock};
use crate::locking::shards::Shard;
use crate::machine::Machine;

/// A fault slot in use, with interrupts out.
pub struct HeldSlot<'a, M: Machine> {
    /// The fault slot of this hart.
    pub slot: FaultGuard<'a>,
    /// Dropped last, because an interrupt handler must find the slot empty.
    _irqs_off: M::IrqGuard,
}

impl<M: Machine> AddrSpace<M> {
    /// Takes this hart's fault slot for a fault at `vaddr`, if the slot is empty and no hart has
    /// locked the address. The caller keeps interrupts out.
    #[inline(always)]
    pub(super) fn try_fault_slot(&self, vaddr: VirtAddr) -> Option<FaultGuard<'_>> {
        let hart = M::hart();
        let shard = self.shards.at(vaddr.as_usize())?;
        let slot = shard.lock.fault_slot(hart, vaddr)?;
        let locked = shard.lock.locked_by(hart, vaddr);
        (locked == LockedBy::None).then_some(slot)
    }

    /// Takes this hart's fault slot for a fault at `vaddr`, once no other hart has locked the
    /// address, and keeps interrupts out. While it waits, they are as the caller has them.
    ///
    /// # Errors
    ///
    /// `Unmapped` if nothing has ever been mapped in the shard. `Nested` if the fault is one of
    /// code that changes what is mapped there, or that handles a fault itself.
    #[inline(always)]
    pub(super) fn fault_slot(&self, vaddr: VirtAddr) -> Result<HeldSlot<'_, M>, Fault> {
        let irqs_off = M::disable_irqs();
        match self.try_fault_slot(vaddr) {
            Some(slot) => Ok(HeldSlot {
                slot,
                _irqs_off: irqs_off,
            }),
            None => {
                drop(irqs_off);
                self.fault_slot_in_turn(vaddr)
            }
        }
    }

    /// Takes the fault slot after the operations that are ahead of it in the queue for the page.
    /// Operations that ask later wait.
    #[cold]
    #[inline(never)]
    fn fault_slot_in_turn(&self, vaddr: VirtAddr) -> Result<HeldSlot<'_, M>, Fault> {
        let _no_preempt = M::disable_preemption();
        let hart = M::hart();
        let shard = self.shards.at(vaddr.as_usize()).ok_or(Fault::Unmapped)?;
        // If this hart holds a fault slot or an index lock, or has locked the address, the
        // operation for which it would wait could be waiting for this hart.
        let holds_any =
            |lock: &RangeLock<M>| lock.is_faulting(hart) || lock.index().is_held_by(hart);
        let mut shards = self.shards.made_from(0);
        if shards.any(|shard| holds_any(&shard.lock))
            || shard.lock.locked_by(hart, vaddr) == LockedBy::ThisHart
        {
            return Err(Fault::Nested);
        }
        if self.is_busy(hart) {
            return self.fault_slot_in_interrupt(shard, vaddr);
        }
        let page = vaddr.align_down_4k().as_usize();
        let range = va_range(page, page.saturating_add(memory_addr::PAGE_SIZE_4K));
        let irqs_off = shard.lock.lock_index_in_turn(hart, range);
        // Ranges are locked with the index lock held, so the next operation sees the slot.
        let slot = shard.lock.fault_slot(hart, vaddr);
        shard.lock.index().unlock();
        let slot = slot.ok_or(Fault::Nested)?;
        Ok(HeldSlot {
            slot,
            _irqs_off: irqs_off,
        })
    }

    /// Takes the fault slot for an interrupt handler that has interrupted an operation of this
    /// hart. The handler stays out of the queue: the operation ahead of it could be waiting for
    /// the interrupted one.
    #[cold]
    fn fault_slot_in_interrupt(
        &self,
        shard: &Shard<M>,
        vaddr: VirtAddr,
    ) -> Result<HeldSlot<'_, M>, Fault> {
        let mut round = 0;
        loop {
            // While the address is locked, the slot is not even tried: each try would fill it
            // for a moment, for which other operations would have to wait.
            match shard.lock.locked_by(M::hart(), vaddr) {
                LockedBy::None => {
                    let irqs_off = M::disable_irqs();
                    if let Some(slot) = self.try_fault_slot(vaddr) {
                        return Ok(HeldSlot {
                            slot,
                            _irqs_off: irqs_off,
                        });
                    }
                }
                LockedBy::ThisHart => return Err(Fault::Nested),
                LockedBy::Another => {}
            }
            M::relax(round);
            round += 1;
        }
    }
}
