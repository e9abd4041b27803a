//! How an operation waits for its turn: at one range lock, or at those of several shards.

use super::range_lock::RangeLock;
use crate::machine::Machine;
use memory_addr::VirtAddrRange;

/// A range that an operation is going to lock, and the lock for it.
pub struct Request<'a, M> {
    pub lock: &'a RangeLock<M>,
    pub range: VirtAddrRange,
}

/// Waits until it is the turn of `hart` for every one of `requests`.
///
/// The requests are in ascending order of addresses. The caller holds the index locks of all of
/// them, and keeps interrupts out with `irqs_off`. While this waits, the index locks are free and
/// the hart has a place in every queue. `irqs_off` is dropped meanwhile, so interrupts are as they
/// were before it. When this returns, the index locks are held and interrupts are out again. A hart
/// that has waited is still in the queues.
pub fn wait_for_turn<M: Machine>(
    requests: &[Request<M>],
    hart: usize,
    irqs_off: &mut Option<M::IrqGuard>,
) {
    let is_turn = |request: &Request<M>| request.lock.is_turn(hart, request.range);
    while !requests.iter().all(is_turn) {
        for request in requests {
            request.lock.enqueue(hart, request.range);
        }
        for request in requests {
            request.lock.index().unlock();
        }
        *irqs_off = None;
        let mut round = 0;
        while !requests.iter().all(is_turn) {
            M::relax(round);
            round += 1;
        }
        *irqs_off = Some(M::disable_irqs());
        for request in requests {
            request.lock.index().lock_beside_others(hart);
        }
    }
}

impl<M: Machine> RangeLock<M> {
    /// Waits until it is the turn of `hart` for `range`, with interrupts as the caller has them.
    /// Returns with the index lock held, interrupts out, and `hart` in no queue.
    pub fn lock_index_in_turn(&self, hart: usize, range: VirtAddrRange) -> M::IrqGuard {
        let mut irqs_off = Some(M::disable_irqs());
        self.index().lock(hart, &mut irqs_off);
        let request = Request { lock: self, range };
        wait_for_turn::<M>(core::slice::from_ref(&request), hart, &mut irqs_off);
        self.count_turn(hart, range);
        self.dequeue(hart);
        // Always `Some`: `lock` and `wait_for_turn` return with interrupts out.
        irqs_off.unwrap_or_else(M::disable_irqs)
    }
}
