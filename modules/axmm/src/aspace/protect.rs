//! Changing the rights of what is mapped.

use core::cell::Cell;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;
use page_table_multiarch::MappingFlags;

use super::operation::{Missing, Operation};
use super::write_guard::{AT_A_TIME, Unlocked, WriteGuard};
use super::{AddrSpace, with_memory};
use crate::areas::Span;
use crate::machine::Machine;
use crate::page_table::Protection;
use crate::page_table::frames::Table;
use crate::tlb::gather::TlbGather;

impl<M: Machine> AddrSpace<M> {
    /// Gives `size` bytes from `start` on, all of which are mapped, the rights
    /// `flags`: those of pages that are there, and those that later ones get.
    ///
    /// With the right to execute, instruction fetches of every hart see what has been
    /// written to the pages. Where the kind of memory changes
    /// ([`DEVICE`](MappingFlags::DEVICE), [`UNCACHED`](MappingFlags::UNCACHED)) the pages
    /// are not there for a moment, and an access waits: it must not be one that a trap
    /// needs, as to a stack.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as for [`map_linear`](Self::map_linear); no rights at all
    /// are allowed for mappings of fresh frames. `NotFound` if some of the range
    /// is not mapped. `NoMemory` as for [`unmap`](Self::unmap).
    pub fn protect(&self, start: VirtAddr, size: usize, flags: MappingFlags) -> AxResult {
        let span = self.changeable(start, size)?;
        self.protect_span(&span, flags)
    }

    /// As [`protect`](Self::protect), for the [owner](Self::own_from) of what is mapped
    /// there.
    ///
    /// # Errors
    ///
    /// As [`protect`](Self::protect), but for the owner.
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
        let span = self.mappable(start, size)?;
        self.protect_span(&span, flags)
    }

    fn protect_span(&self, span: &Span, flags: MappingFlags) -> AxResult {
        self.check_rights(flags)?;
        with_memory::<M>(|| {
            let protect = Protect {
                flags,
                adds: Cell::new(true),
                may_break: Cell::new(false),
            };
            self.perform(span, &protect)
        })
    }
}

/// The operation.
struct Protect {
    flags: MappingFlags,
    /// Whether no page loses a right.
    adds: Cell<bool>,
    /// Whether some pages become another kind of memory.
    may_break: Cell<bool>,
}

impl<M: Machine> Operation<M> for Protect {
    const MISSING: Missing = Missing::Fail;

    #[inline(always)]
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        let span = guard.span().clone();
        let mut reached = span.start;
        let mut foreign = false;
        let covered = guard.all_areas(|area| {
            let before = area.flags();
            self.adds.set(self.adds.get() && adds(before, self.flags));
            let breaks = Table::<M>::differ_in_memory_type(before, self.flags);
            self.may_break.set(self.may_break.get() || breaks);
            foreign |= !area.backing().owns_frames();
            let follows = area.span().start <= reached;
            reached = area.span().end;
            follows
        });
        if !covered || reached < span.end {
            return Err(AxError::NotFound);
        }
        if self.flags.is_empty() && foreign {
            return Err(AxError::InvalidInput);
        }
        guard.reserve_cuts(&span)?;
        match self.flags.is_empty() {
            true => guard.split_all(),
            false => guard.split_edges(),
        }
    }

    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        true
    }

    #[inline(always)]
    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        if self.adds.get() {
            gather.only_adds_rights();
        }
        let protection = Protection {
            flags: self.flags,
            changes_memory_type: self.may_break.get(),
        };
        let table = &unlocked.space().table;
        table.protect_whole_pages(unlocked.span().clone(), protection, gather);
    }

    #[inline(always)]
    fn after_flush(&self, unlocked: &Unlocked<'_, '_, M>) {
        // From here on no hart writes to pages that have lost the right.
        M::publish_entries();
        if self.flags.contains(MappingFlags::EXECUTE) {
            unlocked.space().sync_locked(unlocked.span());
        }
    }

    #[inline(always)]
    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        let span = guard.span().clone();
        guard.cut(&span);
        let mut from = span.start;
        while let Some(reached) = guard.set_flags(&(from..span.end), self.flags, AT_A_TIME) {
            from = reached;
            guard.unlocked(|_| {});
        }
    }
}

/// Whether pages with the rights `after` may be accessed in every way that they may be with
/// `before`, and are the same kind of memory.
fn adds(before: MappingFlags, after: MappingFlags) -> bool {
    let rights = MappingFlags::READ | MappingFlags::WRITE | MappingFlags::EXECUTE;
    after.contains(before) && rights.contains(after ^ before)
}
