//! Changing the rights of mappings.

use core::cell::Cell;

use axerrno::{AxError, AxResult};
use memory_addr::{VirtAddr, VirtAddrRange};
use page_table_multiarch::MappingFlags;

use super::operation::{MissingShard, Operation, with_memory};
use super::space::AddrSpace;
use super::write_guard::{AREAS_PER_STEP, Unlocked, WriteGuard};
use crate::machine::Machine;
use crate::page_table::Protection;
use crate::page_table::frames::PageTableOf;
use crate::tlb::gather::TlbGather;

impl<M: Machine> AddrSpace<M> {
    /// Changes the rights of `size` bytes from `start` on to `flags`. All of these bytes must be
    /// mapped. Pages that are faulted in later get the same rights.
    ///
    /// With the right to execute, instruction fetches of every hart see what has been written to
    /// the pages. Where the kind of memory changes ([`DEVICE`](MappingFlags::DEVICE),
    /// [`UNCACHED`](MappingFlags::UNCACHED)), the pages are unmapped for a moment and an access
    /// faults and waits. So the range must not hold what a trap handler needs, as a stack.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range is empty, not page-aligned, not in the address space,
    ///   [fixed](Self::fix_below) or [owned](Self::own_from), or if `flags` cannot be the rights
    ///   of the mappings there. No right at all is allowed only for mappings that own
    ///   their frames: fresh ones, and private mappings of objects.
    /// - `NotFound` if some of the range is not mapped.
    /// - `NoMemory` and `ResourceBusy` as for [`unmap`](Self::unmap).
    pub fn protect(&self, start: VirtAddr, size: usize, flags: MappingFlags) -> AxResult {
        let range = self.changeable(start, size)?;
        self.protect_range(range, flags)
    }

    /// Changes rights as [`protect`](Self::protect) does, for the [owner](Self::own_from) of
    /// what is mapped there.
    ///
    /// # Errors
    ///
    /// Those of [`protect`](Self::protect), but an owned range is no error.
    ///
    /// # Safety
    ///
    /// The caller owns all that is mapped in the range, and what uses it makes no access
    /// that `flags` does not allow.
    pub unsafe fn protect_owned(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        let range = self.mappable(start, size)?;
        self.protect_range(range, flags)
    }

    fn protect_range(&self, range: VirtAddrRange, flags: MappingFlags) -> AxResult {
        self.check_rights(flags)?;
        with_memory::<M, _>(|| {
            let protect = Protect {
                flags,
                keeps_rights: Cell::new(true),
                changes_memory_kind: Cell::new(false),
            };
            self.perform(range, &protect)
        })
    }
}

/// The operation that changes rights.
struct Protect {
    flags: MappingFlags,
    /// Whether every page keeps the rights that it has.
    keeps_rights: Cell<bool>,
    /// Whether some pages become another kind of memory, so that their entries are cleared
    /// before they are written again.
    changes_memory_kind: Cell<bool>,
}

impl<M: Machine> Operation<M> for Protect {
    const MISSING_SHARD: MissingShard = MissingShard::Fail;

    #[inline(always)]
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        let range = guard.range();
        let mut reached = range.start;
        let mut has_unowned = false;
        let covered = guard.all_areas(|area| {
            let before = area.flags();
            // Pages of shared mappings of objects lose the right to write. Those of private mappings
            // do not, but count as if they did.
            let keeps = keeps_rights(before, self.flags) && area.backend().object().is_none();
            self.keeps_rights.set(self.keeps_rights.get() && keeps);
            let changes = PageTableOf::<M>::differ_in_memory_kind(before, self.flags);
            self.changes_memory_kind
                .set(self.changes_memory_kind.get() || changes);
            has_unowned |= !area.backend().owns_frames();
            let has_gap_before = area.start() > reached;
            reached = area.end();
            !has_gap_before
        });
        if !covered || reached < range.end {
            return Err(AxError::NotFound);
        }
        if self.flags.is_empty() && has_unowned {
            return Err(AxError::InvalidInput);
        }
        guard.reserve_cut(range)?;
        guard.open_all()?;
        match self.flags.is_empty() {
            // The entry of a large page without rights would look like that of a table.
            true => guard.split_all(),
            false => guard.split_edges(range),
        }
    }

    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        true
    }

    #[inline(always)]
    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        if self.keeps_rights.get() {
            gather.set_only_adds_rights();
        }
        let is_user = !unlocked.space().tlb_state.is_kernel();
        let table = &unlocked.space().table;
        for stretch in unlocked.stretches(unlocked.range()) {
            // The first write to a page of an object asks the object.
            let flags = match stretch.shows_object {
                true => self.flags.difference(MappingFlags::WRITE),
                false => self.flags,
            };
            let protection = Protection {
                flags,
                changes_memory_kind: self.changes_memory_kind.get(),
                may_be_shared: cfg!(feature = "objects") && is_user && stretch.owns_frames,
            };
            table.protect_whole_pages(stretch.pages, protection, gather);
        }
    }

    #[inline(always)]
    fn after_flush(&self, unlocked: &Unlocked<'_, '_, M>) {
        M::publish_entries();
        // TLBs are flushed, so pages that have lost the right to write no longer change.
        if self.flags.contains(MappingFlags::EXECUTE) {
            unlocked.space().sync_locked(unlocked.range());
        }
    }

    #[inline(always)]
    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        let mut rest = guard.range();
        // Cuts the areas at the ends of the range, for which `reserve_cut` has made room.
        guard.split_at_ends(rest);
        while let Some(reached) = guard.set_flags(rest, self.flags, AREAS_PER_STEP) {
            rest.start = reached;
            // Lets interrupts in.
            guard.unlocked(|_| {});
        }
    }
}

/// Returns whether `after` has every right that `before` has, for the same kind of memory.
fn keeps_rights(before: MappingFlags, after: MappingFlags) -> bool {
    let rights = MappingFlags::READ | MappingFlags::WRITE | MappingFlags::EXECUTE;
    after.contains(before) && rights.contains(after ^ before)
}
