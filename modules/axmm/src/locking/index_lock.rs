//! The index lock of a shard: a spin lock that serves harts in cyclic order once they have waited
//! long.
//!
//! A free lock goes to the first hart that asks, because that is fastest. A hart that has waited
//! for [`PATIENCE`] rounds sets its bit in `waiting`. From then on each holder names the next
//! holder in `next` as it unlocks: the first waiting hart after its own number, cyclically. A hart
//! that finds another hart named does not take the lock. So once its bit is set, a hart sees each
//! other hart take the lock at most once more.
//!
//! One race is an exception. [`try_lock`](IndexLock::try_lock) reads `next`, and then takes the
//! lock in a second step. If the holder names a hart between the two, the lock may still go to the
//! hart that has read the old value. The named hart then waits for one more holder. To exclude the
//! race, every `try_lock` would have to read `next` a second time.

use core::marker::PhantomData;

use crate::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::machine::Machine;

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

/// Rounds of waiting after which a hart is served in cyclic order. Few under loom, so that its
/// tests reach the hand-over.
const PATIENCE: usize = if cfg!(all(test, loom)) { 1 } else { 32 };

/// A spin lock that knows which hart holds it.
pub struct IndexLock<M> {
    /// The number of the hart that holds the lock, plus one; 0 while it is free.
    owner: AtomicUsize,
    /// The number of the only hart that may take the lock, plus one; 0 if any may.
    next: AtomicUsize,
    /// One bit for each waiting hart that is served in cyclic order.
    waiting: AtomicU64,
    _machine: PhantomData<M>,
}

impl<M: Machine> IndexLock<M> {
    /// A lock that is free.
    pub fn new() -> Self {
        Self {
            owner: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            waiting: AtomicU64::new(0),
            _machine: PhantomData,
        }
    }

    /// Locks it for `hart`, which runs this and does not hold it. The caller keeps interrupts out
    /// with `irqs_off`, and they are out when this returns. While the hart waits, the guard is
    /// dropped, so interrupts are as they were before it. Meanwhile the hart acknowledges requests
    /// to flush.
    #[inline(always)]
    pub fn lock(&self, hart: usize, irqs_off: &mut Option<M::IrqGuard>) {
        if !self.try_lock(hart) {
            self.wait(hart, Some(irqs_off));
        }
    }

    /// Locks it for `hart`, which runs this and may hold index locks of lower shards. Interrupts
    /// stay out while it waits.
    #[inline(always)]
    pub fn lock_beside_others(&self, hart: usize) {
        if !self.try_lock(hart) {
            self.wait(hart, None);
        }
    }

    /// Locks it for `hart`, if it is free and `hart` may take it. Returns whether it did.
    #[inline(always)]
    pub fn try_lock(&self, hart: usize) -> bool {
        // Relaxed: `next` only makes the lock fair. `owner` alone says which hart holds it.
        let next = self.next.load(Ordering::Relaxed);
        (next == 0 || next == hart + 1)
            && self
                .owner
                // Acquire pairs with the release in `unlock`.
                .compare_exchange(0, hart + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    #[cold]
    fn wait(&self, hart: usize, mut irqs_off: Option<&mut Option<M::IrqGuard>>) {
        let _no_preempt = M::disable_preemption();
        let mut round = 0;
        while !self.try_lock(hart) {
            if round >= PATIENCE {
                self.join_cyclic_order(hart);
            }
            if let Some(irqs_off) = &mut irqs_off {
                **irqs_off = None;
            }
            M::relax(round);
            if let Some(irqs_off) = &mut irqs_off {
                **irqs_off = Some(M::disable_irqs());
            }
            round += 1;
        }
        if round > PATIENCE {
            self.waiting.fetch_and(!(1 << hart), Ordering::Relaxed);
            self.next.store(0, Ordering::Relaxed);
        }
    }

    /// Sets the bit of `hart`, unless it is set. Called in every round: an interrupt handler of
    /// the hart may wait for the lock as well, and then clears the bit.
    fn join_cyclic_order(&self, hart: usize) {
        // Relaxed: it is enough if a holder sees the bit at some later unlock.
        if self.waiting.load(Ordering::Relaxed) >> hart & 1 == 0 {
            self.waiting.fetch_or(1 << hart, Ordering::Relaxed);
        }
    }

    /// Unlocks it. The caller holds it.
    #[inline(always)]
    pub fn unlock(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            self.name_next();
        }
        // Release pairs with the acquire in `try_lock`.
        self.owner.store(0, Ordering::Release);
    }

    /// Names the first waiting hart after the holder.
    #[cold]
    fn name_next(&self) {
        let holder = self.owner.load(Ordering::Relaxed) - 1;
        let waiting = self.waiting.load(Ordering::Relaxed);
        // Those with a higher number. Two shifts, because one by 64 would overflow.
        let after = waiting & (u64::MAX << holder) << 1;
        let next = match after {
            0 => waiting,
            _ => after,
        };
        self.next
            .store(next.trailing_zeros() as usize + 1, Ordering::Relaxed);
    }

    /// Whether `hart`, which runs this, holds the lock.
    #[inline(always)]
    pub fn is_held_by(&self, hart: usize) -> bool {
        // Relaxed: only the hart itself writes its own number here.
        self.owner.load(Ordering::Relaxed) == hart + 1
    }
}
