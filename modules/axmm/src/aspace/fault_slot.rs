//! How a page fault, or a copy of a page, keeps operations away from its page: this hart's fault
//! slot, held with interrupts out.

use memory_addr::{MemoryAddr, VirtAddr};

use super::fault::Fault;
use super::space::AddrSpace;
use crate::addr::va_range;
use crate::locking::range_lock::{FaultGuard, RangeLock};
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
        let shard = self.shards.at(vaddr.as_usize())?;
        let slot = shard.lock.take_slot(M::hart(), vaddr)?;
        (!shard.lock.is_locked(vaddr)).then_some(slot)
    }

    /// Takes this hart's fault slot for a fault at `vaddr`, once no other hart has locked the
    /// address, and keeps interrupts out. While it waits, they are as the caller has them.
    ///
    /// # Errors
    ///
    /// `Unmapped` if nothing has ever been mapped in the shard. `Nested` if the fault would have to
    /// wait and must not. Then this hart is in the middle of another page fault or holds an index
    /// lock, or the caller is an interrupt handler that has interrupted an operation of this hart.
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

    /// Returns whether a fault of `hart`, which runs this, must not wait. The operation for which it
    /// would wait could be waiting for this hart: for its fault slot, for an index lock that it
    /// holds, or for a range that it has locked or is queued for.
    pub(super) fn must_not_wait(&self, hart: usize) -> bool {
        let must_not_wait = |lock: &RangeLock<M>| {
            lock.is_faulting(hart) || lock.index().is_held_by(hart) || lock.is_busy(hart)
        };
        self.shards
            .made_from(0)
            .any(|shard| must_not_wait(&shard.lock))
    }

    /// Takes the fault slot once no other hart has locked the page, and the operations that are
    /// ahead in the queue for it have finished. Operations that ask later wait.
    #[cold]
    #[inline(never)]
    fn fault_slot_in_turn(&self, vaddr: VirtAddr) -> Result<HeldSlot<'_, M>, Fault> {
        let _no_preempt = M::disable_preemption();
        let hart = M::hart();
        let shard = self.shards.at(vaddr.as_usize()).ok_or(Fault::Unmapped)?;
        if self.must_not_wait(hart) {
            return Err(Fault::Nested);
        }
        let page = vaddr.align_down_4k().as_usize();
        let range = va_range(page, page.saturating_add(memory_addr::PAGE_SIZE_4K));
        let irqs_off = shard.lock.lock_index_in_turn(hart, range);
        // Ranges are locked with the index lock held, so the next operation sees the slot.
        let slot = shard.lock.take_slot(hart, vaddr);
        shard.lock.index().unlock();
        let slot = slot.ok_or(Fault::Nested)?;
        Ok(HeldSlot {
            slot,
            _irqs_off: irqs_off,
        })
    }
}
