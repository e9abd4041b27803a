//! Mappings of the kernel that other address spaces see, too.

#[cfg(feature = "hal")]
use axconfig::{USER_BASE, USER_END};
use axerrno::{AxError, AxResult};
use memory_addr::{PhysAddr, VirtAddr, VirtAddrRange};

use super::operation::{MissingShard, Operation};
use super::space::AddrSpace;
use super::write_guard::WriteGuard;
use crate::addr::as_span;
use crate::machine::Machine;
use crate::page_table::frames::PageTableOf;

impl<M: Machine> AddrSpace<M> {
    /// Prepares this address space for others that see all that it maps, now or later
    /// ([`copy_mappings_from`](Self::copy_mappings_from)): makes a table under each entry of the
    /// root. These tables stay even when they are empty.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a user program's address space, whose mappings no other may see.
    /// `NoMemory`.
    pub fn share(&self) -> AxResult {
        if !self.tlb_state.is_kernel() {
            return Err(AxError::InvalidInput);
        }
        if self.table.is_shared() {
            return Ok(());
        }
        let start = self.base().max(VirtAddr::from_usize(self.fixed_end));
        // If all of it is fixed, there is no range to operate on.
        if start >= self.end() {
            self.table
                .share_root(as_span(self.va_range), self.fixed_end);
            return Ok(());
        }
        let end = self.end();
        self.perform(VirtAddrRange { start, end }, &Share)
    }

    /// Makes the mappings of `other`, which is a kernel's, visible here: those made before, and,
    /// if `other` is [shared](Self::share), those made later. They stay mappings of `other`, and
    /// vanish when they are unmapped there, or when `other` is dropped. From now on, the tables to
    /// which its root's entries lead are never freed, because it is not known how long this root leads
    /// to them. Nor is any table when `other` is dropped.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `other` is a user program's: a change there flushes the TLBs of the
    /// harts inside it, and not of those inside this one. `InvalidInput` also if both have
    /// addresses under one entry of the root, or if mappings of another address space are
    /// visible here already. `NoMemory`.
    pub fn copy_mappings_from(&mut self, other: &Self) -> AxResult {
        other.lend_to(&mut self.table, self.va_range)
    }

    /// Makes all mappings visible in `table`, the table of an address space over `range`.
    pub(super) fn lend_to(&self, table: &mut PageTableOf<M>, range: VirtAddrRange) -> AxResult {
        let (borrower, own) = (as_span(range), as_span(self.va_range));
        let is_kernel = self.tlb_state.is_kernel();
        if !is_kernel || table.borrows() || self.table.have_common_root_entry(&borrower, &own) {
            return Err(AxError::InvalidInput);
        }
        // A page table for which `share_root` has been called never loses an entry of its root, so this
        // needs no lock.
        if self.table.is_shared() {
            table.copy_root_entries(&self.table, own);
            return Ok(());
        }
        let shards = 0..self.shards.count();
        shards
            .clone()
            .try_for_each(|number| self.shards.make(number).map(drop))?;
        let _guards = self.lock_shards(shards, self.va_range)?;
        table.copy_root_entries(&self.table, own);
        Ok(())
    }

    /// Returns whether all that the address space with the page table `root` maps, now or later,
    /// is visible here: it was [shared](Self::share) before its mappings were
    /// [copied](Self::copy_mappings_from).
    pub fn sees_all_of(&self, root: PhysAddr) -> bool {
        self.table.borrows_all_of(root)
    }

    /// Returns whether a hart can enter this address space: it is a user program's and lies in the
    /// user half, and its root suits the machine.
    ///
    /// - Where one root translates both halves, this root has to lead to all that the kernel maps,
    ///   now or later. `kernel()` returns the kernel's root.
    /// - Elsewhere this root must have no entry of another address space, which would translate
    ///   addresses of the user half.
    #[cfg(feature = "hal")]
    pub(crate) fn is_enterable(&self, kernel: impl FnOnce() -> PhysAddr) -> bool {
        let user_half = USER_BASE..USER_END;
        let in_user_half =
            user_half.contains(&self.base().as_usize()) && self.end().as_usize() <= USER_END;
        if self.tlb_state.is_kernel() || !in_user_half {
            return false;
        }
        match axhal::paging::ONE_ROOT {
            true => self.sees_all_of(kernel()),
            false => !self.table.borrows(),
        }
    }
}

/// The operation that makes a table under each entry of the root.
struct Share;

impl<M: Machine> Operation<M> for Share {
    const MISSING_SHARD: MissingShard = MissingShard::Make;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        guard.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            let table = &unlocked.space().table;
            let result = table.populate_root(as_span(unlocked.range()), &mut gather);
            gather.finish();
            result
        })
    }

    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        let space = guard.space();
        // Every shard has been prepared by now, so all tables under the root exist. The first
        // call covers all shards, and later ones change nothing.
        space
            .table
            .share_root(as_span(space.va_range), space.fixed_end);
    }
}
