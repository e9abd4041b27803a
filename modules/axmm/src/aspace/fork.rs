//! Forking the address space of a user program: the pages are shared until one side writes.

use core::pin::Pin;

use axerrno::{AxError, AxResult};

use super::operation::{MissingShard, Operation, with_memory};
use super::space::AddrSpace;
use super::write_guard::{Unlocked, WriteGuard};
use crate::machine::Machine;
use crate::page_table::Flusher;
use crate::tlb::gather::TlbGather;

impl<M: Machine> AddrSpace<M> {
    /// Makes an address space with the same areas and the same contents. Each side then sees only
    /// its own writes, as after `fork(2)`. Rights, names and grains stay, and linear areas map the
    /// same physical addresses. The kernel's mappings are visible if they are visible here.
    ///
    /// Pages are shared until one side writes to them, and page tables until one side accesses what
    /// they translate. A table is shared if all areas in the 2 MiB, or the 1 GiB, that it translates
    /// own their frames: no linear area and no shared mapping of an object lies there. So the time
    /// depends on the number of areas, and of page tables that cannot be shared. The first access to
    /// such a block costs a copy of its table, and the first write to a page a copy of the page,
    /// unless no other address space has it any more.
    ///
    /// Operations and page faults of other harts wait, and one TLB shootdown ends the fork. Until the
    /// shootdown, what threads of other harts write to mapped pages is seen on both sides.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for the kernel's address space. `NoMemory`; then nothing has changed.
    /// `Unsupported` if a shared mapping of an object is in the way: the object must know where the
    /// child is ([`fork_into`](Self::fork_into)).
    /// `ResourceBusy` in some interrupt handlers ([`AddrSpace`]).
    pub fn fork(&self) -> AxResult<Self> {
        if self.tlb_state.is_kernel() {
            return Err(AxError::InvalidInput);
        }
        with_memory::<M, _>(|| self.duplicate(|child| self.share_with(child, false)))
    }

    /// Forks this address space into `child`, as [`fork`](Self::fork) does. Shared mappings of
    /// objects are shared with the child, too. Whether addresses are [fixed](Self::fix_below) or
    /// [owned](Self::own_from) does not change in the child.
    ///
    /// Nothing else may use `child` before this returns. If another thread maps something in it, or
    /// accesses it, then it is not defined what `child` contains, and memory may be lost.
    ///
    /// # Errors
    ///
    /// Those of [`fork`](Self::fork), except for `Unsupported`. `InvalidInput` also if `child` is
    /// not an empty address space of a user program with the same range, or does not see the
    /// kernel's mappings as this one does. If it fails, `child` is empty again, unless some of its
    /// addresses are fixed or owned.
    pub fn fork_into(&self, child: Pin<&Self>) -> AxResult {
        let is_alike = child.va_range == self.va_range
            && child.table.borrows_as(&self.table)
            && child.areas().next().is_none();
        if self.tlb_state.is_kernel() || child.tlb_state.is_kernel() || !is_alike {
            return Err(AxError::InvalidInput);
        }
        with_memory::<M, _>(|| {
            let shared = self.share_with(child.get_ref(), true);
            if shared.is_err() {
                // This fails only if something is fixed or owned. The caller has been told.
                let _ = child.clear();
            }
            shared
        })
    }

    fn share_with(&self, child: &Self, is_pinned: bool) -> AxResult {
        self.perform(self.va_range, &Fork { child, is_pinned })
    }
}

/// The operation that shares all pages with a child, which no other hart uses. If the operation
/// fails, its caller drops or clears the child, and with it what was shared.
struct Fork<'a, M: Machine> {
    child: &'a AddrSpace<M>,
    /// Whether the child does not move any more, so that objects can keep its address.
    is_pinned: bool,
}

impl<M: Machine> Operation<M> for Fork<'_, M> {
    const MISSING_SHARD: MissingShard = MissingShard::Skip;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        guard.unlocked(|unlocked| {
            unlocked.for_each_area(|area| self.child.map_like(area, self.is_pinned))?;
            let (parent, child) = (&unlocked.space().table, &self.child.table);
            unlocked
                .stretches(unlocked.range())
                .filter(|stretch| stretch.owns_frames)
                .try_for_each(|stretch| parent.share_with(child, stretch.pages, &M::poll))
        })
    }

    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        true
    }

    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        for stretch in unlocked.stretches(unlocked.range()) {
            if stretch.owns_frames {
                unlocked.space().table.seal(stretch.pages, gather);
                gather.poll();
            }
        }
    }
}
