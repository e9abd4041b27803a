//! Duplicating the address space of a user program: the same areas, and a copy of each page.

use core::ops::ControlFlow;

use axerrno::{AxError, AxResult};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::operation::{MissingShard, Operation, with_memory};
use super::space::AddrSpace;
use super::write_guard::{Unlocked, WriteGuard};
use crate::addr::as_span;
use crate::backing::{self, Backend};
use crate::machine::{ALL_ADDRESSES, Machine};
use crate::page_table::Visited;
use crate::tlb::gather::TlbGather;
use crate::tlb::state::TlbState;
use crate::zero_frame::is_zero_frame;

impl<M: Machine> AddrSpace<M> {
    /// Makes an address space with the same areas and a copy of every page that has a frame. This
    /// is `fork` without sharing of frames. Rights, names, grains and sizes of pages stay, but a
    /// large page becomes small ones if no block of frames is free for it. Pages without a frame
    /// stay lazy. Linear areas map the same physical addresses. The kernel's mappings are visible
    /// if they are visible here.
    ///
    /// This address space does not change meanwhile: operations and page faults of other harts
    /// wait. What another hart writes to a page while it is copied may be in the copy in part.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for the kernel's address space. `NoMemory`; then nothing is left of the
    /// copy. `Unsupported` if a shared mapping of an object is in the way, as for
    /// [`fork`](Self::fork). `ResourceBusy` in some interrupt handlers ([`AddrSpace`]).
    pub fn clone_eager(&self) -> AxResult<Self> {
        if self.tlb_state.is_kernel() {
            return Err(AxError::InvalidInput);
        }
        with_memory::<M, _>(|| self.duplicate(|copy| self.perform(self.va_range, &CopyInto(copy))))
    }

    /// Makes an empty address space with the same range, which `fill` fills.
    pub(super) fn duplicate(&self, fill: impl FnOnce(&Self) -> AxResult) -> AxResult<Self> {
        let mut copy = Self::new(self.base(), self.size(), TlbState::user(), |table| {
            table.copy_borrowed_entries(&self.table);
            Ok(())
        })?;
        fill(&copy)?;
        copy.fixed_end = self.fixed_end;
        copy.owned_from = self.owned_from;
        Ok(copy)
    }
}

/// The operation that copies areas and pages into another address space, which no other hart knows
/// yet. If the operation fails, the other address space is dropped, and with it what was copied.
struct CopyInto<'a, M: Machine>(&'a AddrSpace<M>);

impl<M: Machine> Operation<M> for CopyInto<'_, M> {
    const MISSING_SHARD: MissingShard = MissingShard::Skip;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        guard.unlocked(|unlocked| {
            unlocked.for_each_area(|area| self.copy_area(unlocked, area))?;
            M::publish_entries();
            Ok(())
        })
    }
}

impl<M: Machine> CopyInto<'_, M> {
    fn copy_area(&self, unlocked: &Unlocked<'_, '_, M>, area: &MemoryArea<Backend>) -> AxResult {
        let (original, copy) = (unlocked.space(), self.0);
        copy.map_like(area, false)?;
        if !area.backend().owns_frames() {
            return Ok(());
        }
        let copied = original.table.visit(as_span(area.va_range()), |seen| {
            match self.copy_run(area.flags(), seen) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        copied.break_value().map_or(Ok(()), Err)?;
        if area.flags().contains(MappingFlags::EXECUTE) {
            // No other hart knows the copy, so its pages stay mapped without a lock.
            copy.sync_locked(area.va_range());
        }
        Ok(())
    }

    /// Copies a run of pages, which get the rights `flags`.
    fn copy_run(&self, flags: MappingFlags, seen: Visited) -> AxResult {
        let Visited::Run {
            level,
            pages,
            paddr,
            ..
        } = seen
        else {
            return Ok(());
        };
        // Pages that have only been read stay lazy.
        if is_zero_frame(paddr) {
            return Ok(());
        }
        let copy = self.0;
        let mut gather = TlbGather::new(&copy.tlb_state);
        // No other hart knows the copy, so any of its tables may be freed.
        gather.set_exclusive(ALL_ADDRESSES);
        gather.set_owns_frames(true);
        let is_large = level > 0;
        let copied = backing::copy::<M>(&copy.table, pages, flags, is_large, paddr, &mut gather);
        gather.finish();
        copied
    }
}
