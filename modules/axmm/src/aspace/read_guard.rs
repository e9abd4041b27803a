//! The areas of a shard, to look at, with its index lock held.

use core::ops::Deref;

use memory_set::MemorySet;

use super::space::AddrSpace;
use crate::backing::Backend;
use crate::locking::shards::Shard;
use crate::machine::Machine;

/// The areas of a shard. They do not change while the guard exists, for it holds the index lock.
/// Interrupts are out.
pub struct ReadGuard<'a, M: Machine> {
    shard: &'a Shard<M>,
    /// Dropped last, after the guard's own drop has unlocked the index lock.
    _irqs_off: Option<M::IrqGuard>,
}

impl<M: Machine> AddrSpace<M> {
    /// Locks the areas of a shard. `None` if this hart holds the index lock already, as in a page
    /// fault of the code that holds it.
    #[inline(always)]
    pub(super) fn read_areas<'a>(&self, shard: &'a Shard<M>) -> Option<ReadGuard<'a, M>> {
        let mut irqs_off = Some(M::disable_irqs());
        let (index, hart) = (shard.lock.index(), M::hart());
        if index.is_held_by(hart) {
            return None;
        }
        index.lock(hart, &mut irqs_off);
        Some(ReadGuard {
            shard,
            _irqs_off: irqs_off,
        })
    }

    /// Locks the areas of a shard, if the index lock is free.
    pub(super) fn try_read_areas<'a>(&self, shard: &'a Shard<M>) -> Option<ReadGuard<'a, M>> {
        let irqs_off = Some(M::disable_irqs());
        let locked = shard.lock.index().try_lock(M::hart());
        locked.then(|| ReadGuard {
            shard,
            _irqs_off: irqs_off,
        })
    }
}

impl<M: Machine> Deref for ReadGuard<'_, M> {
    type Target = MemorySet<Backend>;

    #[inline(always)]
    fn deref(&self) -> &MemorySet<Backend> {
        // SAFETY: `read_areas` and `try_read_areas` make a guard only with the index lock
        // locked, and only the guard's drop unlocks it.
        unsafe { self.shard.areas() }
    }
}

impl<M: Machine> Drop for ReadGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.shard.lock.index().unlock();
    }
}
