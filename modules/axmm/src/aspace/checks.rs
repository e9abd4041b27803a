//! Which ranges and rights a caller may ask for.

use axerrno::{AxError, AxResult};
use memory_addr::{VirtAddr, VirtAddrRange};
use page_table_multiarch::MappingFlags;

use super::space::{AddrSpace, page_aligned};
use crate::machine::Machine;

impl<M: Machine> AddrSpace<M> {
    /// Fixes what is mapped below `end`, for the kernel itself runs in it: from now on nothing
    /// is mapped, unmapped or protected there, and no bytes are copied from or to it. The fixed
    /// range only grows.
    pub fn fix_below(&mut self, end: VirtAddr) {
        self.fixed_end = self.fixed_end.max(end.as_usize());
    }

    /// Makes each mapping from `start` on owned: its owner is the code that maps it. Only
    /// [`unmap_owned`](Self::unmap_owned), [`unmap_each`](Self::unmap_each) and
    /// [`protect_owned`](Self::protect_owned) change an owned mapping, and no bytes are copied
    /// from or to it. So references to it can be valid. The owned range only grows.
    pub fn own_from(&mut self, start: VirtAddr) {
        self.owned_from = self.owned_from.min(start.as_usize());
    }

    /// Returns whether bytes at `vaddr` may be copied. Rust code holds references to fixed and
    /// to owned memory, which must not change behind them.
    pub(crate) fn may_copy(&self, vaddr: VirtAddr) -> bool {
        (self.fixed_end..self.owned_from).contains(&vaddr.as_usize())
    }

    /// Returns whether all of `size` bytes from `start` on lie in the address space.
    pub fn contains_range(&self, start: VirtAddr, size: usize) -> bool {
        let end = start.as_usize().checked_add(size);
        start >= self.base() && end.is_some_and(|end| end <= self.end().as_usize())
    }

    /// Checks that a mapping can have the rights `flags`. The rights may be empty. Otherwise they
    /// include the right to read, because not every machine can write or execute without it
    /// (RISC-V Privileged Architecture, "Encoding of PTE R/W/X fields").
    ///
    /// # Errors
    ///
    /// `InvalidInput`.
    pub(super) fn check_rights(&self, flags: MappingFlags) -> AxResult {
        let write_and_execute = MappingFlags::WRITE | MappingFlags::EXECUTE;
        let any_right = flags.intersects(write_and_execute | MappingFlags::READ);
        let only_for_users =
            flags.contains(MappingFlags::USER) || flags.contains(write_and_execute);
        if (only_for_users && self.tlb_state.is_kernel())
            || (any_right && !flags.contains(MappingFlags::READ))
            || (!any_right && !flags.is_empty())
        {
            return Err(AxError::InvalidInput);
        }
        Ok(())
    }

    /// Returns `size` bytes from `start` on, if they are neither fixed nor owned.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they are, or if [`mappable`](Self::mappable) fails.
    pub(super) fn changeable(&self, start: VirtAddr, size: usize) -> AxResult<VirtAddrRange> {
        let range = self.mappable(start, size)?;
        match range.end.as_usize() <= self.owned_from {
            true => Ok(range),
            false => Err(AxError::InvalidInput),
        }
    }

    /// Returns `size` bytes from `start` on, if they are not fixed.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they are fixed, empty, not page-aligned, or not in the address space.
    pub(super) fn mappable(&self, start: VirtAddr, size: usize) -> AxResult<VirtAddrRange> {
        let range = page_aligned(start, size)?;
        match self.contains_range(start, size) && start.as_usize() >= self.fixed_end {
            true => Ok(range),
            false => Err(AxError::InvalidInput),
        }
    }
}
