//! How an operation on a range goes, all or nothing, in one shard or in several.
//!
//! ```text
//!   in one shard                               in several
//!     begin        waits for the turn            lock_shards waits for all turns, locks all ranges
//!     prepare      locks the range, may fail     in each; if one fails, undo in those before
//!     change       changes the page table        in each
//!     (TLBs are flushed, frames freed)           once for all
//!     after_flush                                in each
//!     settle       changes the areas             in each
//! ```
//!
//! A step that an operation does not need stays empty. Mapping does all of its work in `prepare`,
//! because each page may need a frame or a page table, and so may fail.

use axerrno::{AxError, AxResult};

use memory_addr::VirtAddrRange;

use super::lock_shards::Guards;
use super::space::AddrSpace;
use super::write_guard::{Unlocked, WriteGuard};
use crate::machine::Machine;
use crate::tlb::gather::TlbGather;

/// What an operation does in a shard in which nothing has ever been mapped.
#[derive(Clone, Copy)]
pub enum MissingShard {
    /// The operation makes the shard.
    Make,
    /// The operation has nothing to do there.
    Skip,
    /// The operation fails with `NotFound`.
    Fail,
}

/// What an operation does in each shard that it reaches. The guard's range is the part of the
/// operation's range that lies in the shard.
pub trait Operation<M: Machine> {
    /// What the operation does in a shard that has not been made.
    const MISSING_SHARD: MissingShard;

    /// Locks the range, and does all that can fail: checks, reservations and splits.
    ///
    /// # Errors
    ///
    /// Those of the operation. No mapping of this shard has changed then, and
    /// [`undo`](Self::undo) is not called for it.
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult;

    /// Undoes what [`prepare`](Self::prepare) has done in this shard. Called when it fails in
    /// another shard, or when [`WriteGuard::unlock_index`] fails in this one.
    fn undo(&self, _guard: &mut WriteGuard<'_, M>) {}

    /// Returns whether [`change`](Self::change) has anything to do. If not, an operation in one
    /// shard skips that step, and so need not free its index lock. An operation over several shards
    /// has freed its index locks by then. It does not ask, and always calls `change`.
    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        false
    }

    /// Changes the page table. What it unmaps goes into `gather`.
    fn change(&self, _unlocked: &Unlocked<'_, '_, M>, _gather: &mut TlbGather<'_, M>) {}

    /// Does what must wait until TLBs are flushed.
    fn after_flush(&self, _unlocked: &Unlocked<'_, '_, M>) {}

    /// Changes the areas.
    fn settle(&self, _guard: &mut WriteGuard<'_, M>) {}
}

impl<M: Machine> AddrSpace<M> {
    /// Performs an operation on `range`.
    ///
    /// # Errors
    ///
    /// Those of the operation. `ResourceBusy` in some interrupt handlers ([`AddrSpace`]).
    /// `NoMemory` if a shard cannot be made.
    #[inline(always)]
    pub(super) fn perform<O: Operation<M>>(&self, range: VirtAddrRange, operation: &O) -> AxResult {
        let number = self.shards.number_of(range.start.as_usize());
        if number != self.shards.number_of(range.end.as_usize() - 1) {
            return self.perform_across(range, operation);
        }
        let shard = match self.shards.get(number) {
            Some(shard) => shard,
            None => match O::MISSING_SHARD {
                MissingShard::Make => self.shards.make(number)?,
                MissingShard::Skip => return Ok(()),
                MissingShard::Fail => return Err(AxError::NotFound),
            },
        };
        let mut guard = WriteGuard::new(self, shard, range);
        guard.begin()?;
        operation.prepare(&mut guard)?;
        if operation.changes_pages(&guard) {
            change_pages(&mut guard, operation);
        }
        operation.settle(&mut guard);
        Ok(())
    }

    /// Performs an operation on a `range` that lies in several shards.
    #[cold]
    #[inline(never)]
    fn perform_across<O: Operation<M>>(&self, range: VirtAddrRange, operation: &O) -> AxResult {
        let (first, last) = (range.start.as_usize(), range.end.as_usize() - 1);
        let [first, last] = [first, last].map(|addr| self.shards.number_of(addr));
        for number in first..=last {
            match O::MISSING_SHARD {
                MissingShard::Make => _ = self.shards.make(number)?,
                MissingShard::Fail if self.shards.get(number).is_none() => {
                    return Err(AxError::NotFound);
                }
                MissingShard::Skip | MissingShard::Fail => {}
            }
        }
        let mut guards = self.lock_shards(first..last + 1, range)?;
        prepare_all(&mut guards, operation)?;
        let mut gather = TlbGather::new(&self.tlb_state);
        for guard in &guards {
            operation.change(&Unlocked::new(guard), &mut gather);
        }
        gather.finish();
        for guard in &guards {
            operation.after_flush(&Unlocked::new(guard));
        }
        for mut guard in guards {
            guard.lock_index();
            operation.settle(&mut guard);
        }
        Ok(())
    }
}

/// Does `work`, and repeats it as long as it fails for lack of memory and other modules give some
/// back. The caller holds no lock of an address space, because giving memory back may unmap it.
#[inline(always)]
pub fn with_memory<M: Machine, T>(work: impl Fn() -> AxResult<T>) -> AxResult<T> {
    loop {
        match work() {
            Err(AxError::NoMemory) if M::reclaim() => {}
            result => return result,
        }
    }
}

/// Changes the page table in one shard.
#[inline(never)]
fn change_pages<M: Machine, O: Operation<M>>(guard: &mut WriteGuard<'_, M>, operation: &O) {
    let tlb_state = &guard.space().tlb_state;
    guard.unlocked(|unlocked| {
        let mut gather = TlbGather::new(tlb_state);
        operation.change(unlocked, &mut gather);
        gather.finish();
        operation.after_flush(unlocked);
    });
}

/// Prepares an operation in every shard. If one fails, undoes those before it.
fn prepare_all<M: Machine, O: Operation<M>>(guards: &mut Guards<'_, M>, operation: &O) -> AxResult {
    for index in 0..guards.len() {
        let guard = &mut guards[index];
        guard.lock_index();
        let prepared = operation.prepare(guard).and_then(|()| {
            let result = guard.unlock_index();
            if result.is_err() {
                operation.undo(guard);
            }
            result
        });
        if prepared.is_err() {
            // Drops the guard of the failed shard, which holds its index lock, and those after it:
            // a hart that holds an index lock must not take that of a lower shard.
            guards.truncate(index);
            for mut guard in guards.drain(..).rev() {
                guard.lock_index();
                operation.undo(&mut guard);
            }
            return prepared;
        }
    }
    Ok(())
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
