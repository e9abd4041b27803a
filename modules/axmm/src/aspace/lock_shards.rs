//! How an operation over several shards locks its range in each of them.

use core::mem;
use core::ops::Range;

use arrayvec::ArrayVec;
use axerrno::{AxError, AxResult};
use memory_addr::VirtAddrRange;

use super::space::AddrSpace;
use super::write_guard::WriteGuard;
use crate::addr::clip;
use crate::locking::shards::MAX_SHARDS;
use crate::locking::turn::{Request, wait_for_turn};
use crate::machine::Machine;

/// A guard for each shard that an operation reaches, in ascending order.
pub type Guards<'a, M> = ArrayVec<WriteGuard<'a, M>, MAX_SHARDS>;

impl<M: Machine> AddrSpace<M> {
    /// Begins an operation on the parts of `range` that lie in the shards with these `numbers`,
    /// as far as the shards have been made. Each part is locked when this returns, and the index
    /// locks are free. The operation holds all index locks while it draws its tickets, so two
    /// such operations are in the same order in every queue.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` in an interrupt handler that has interrupted an operation of its hart.
    pub(super) fn lock_shards(
        &self,
        numbers: Range<usize>,
        range: VirtAddrRange,
    ) -> AxResult<Guards<'_, M>> {
        let no_preempt = M::disable_preemption();
        let mut irqs_off = Some(M::disable_irqs());
        let hart = M::hart();
        let guard = |number| {
            let part = clip(range, self.shards.range(number));
            Some(WriteGuard::new(self, self.shards.get(number)?, part))
        };
        let mut guards: Guards<'_, M> = numbers.filter_map(guard).collect();
        for guard in &guards {
            guard.range_lock().index().lock_beside_others(hart);
        }
        let is_busy = self.is_busy(hart);
        if !is_busy {
            lock_ranges(&mut guards, hart, &mut irqs_off);
        }
        for guard in &guards {
            guard.range_lock().index().unlock();
        }
        drop(irqs_off);
        drop(no_preempt);
        match is_busy {
            true => {
                // The guards hold nothing. Their drops would take each index lock once more.
                guards.drain(..).for_each(mem::forget);
                Err(AxError::ResourceBusy)
            }
            false => Ok(guards),
        }
    }
}

/// Locks the ranges of all guards, with the large pages and the addresses of shared tables across
/// their ends, when their turn has come. The index locks of all shards are held before and after.
fn lock_ranges<M: Machine>(
    guards: &mut Guards<'_, M>,
    hart: usize,
    irqs_off: &mut Option<M::IrqGuard>,
) {
    let requests = guards.iter().map(|guard| Request {
        lock: guard.range_lock(),
        range: guard.range(),
    });
    let mut requests: ArrayVec<_, MAX_SHARDS> = requests.collect();
    loop {
        wait_for_turn::<M>(&requests, hart, irqs_off);
        // The index locks are held, and no other operation has locked any of these ranges. So no
        // table on the way to an end of a range is freed, and the page table may be walked.
        if cover_large_pages(guards, &requests) {
            for request in &requests {
                request.lock.lock(hart, request.range);
            }
            // Until a range is locked, a fault may map a large page across its ends.
            if cover_large_pages(guards, &requests) {
                break;
            }
            for request in &requests {
                request.lock.unlock(hart);
            }
        }
        // The operation asks for the larger ranges, and keeps its place in the queues.
        for (guard, request) in guards.iter().zip(&mut requests) {
            request.range = guard.with_large_pages();
        }
    }
    for (guard, request) in guards.iter_mut().zip(&requests) {
        request.lock.dequeue(hart);
        request.lock.count_turn(hart, request.range);
        guard.set_locked(request.range);
    }
}

/// Returns whether each request is for all of the large pages, and of the addresses of shared tables,
/// across the ends of its guard's range.
fn cover_large_pages<M: Machine>(guards: &Guards<M>, requests: &[Request<M>]) -> bool {
    let mut pairs = guards.iter().zip(requests);
    pairs.all(|(guard, request)| guard.with_large_pages() == request.range)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
