//! Where something can be mapped.

use memory_addr::{PAGE_SIZE_4K, VirtAddr, VirtAddrRange};

use super::space::AddrSpace;
use crate::addr::{clip, va_range};
use crate::machine::Machine;

impl<M: Machine> AddrSpace<M> {
    /// Returns the lowest address, not below `hint`, from which `size` bytes of `limit` can be
    /// mapped: they lie in the address space, nothing is mapped there, and they are not
    /// [fixed](Self::fix_below). `None` if there is no such address, or if `size` is 0 or not a
    /// multiple of 4 KiB.
    ///
    /// A mapping of the range succeeds unless another hart has mapped something there
    /// meanwhile, or memory runs out.
    pub fn find_free_area(
        &self,
        hint: VirtAddr,
        size: usize,
        limit: VirtAddrRange,
    ) -> Option<VirtAddr> {
        let lowest = self.base().as_usize().max(self.fixed_end);
        let start = limit.start.as_usize().max(lowest);
        let end = limit.end.min(self.end()).as_usize();
        if size == 0 || !size.is_multiple_of(PAGE_SIZE_4K) || start >= end {
            return None;
        }
        let limit = va_range(start, end);
        let from = hint.as_usize().max(start);
        let mut from = from.checked_next_multiple_of(PAGE_SIZE_4K)?;
        let mut number = self.shards.number_of(from);
        loop {
            // This search knows the areas of this shard only. If the gap that it finds reaches into
            // the next shard, the search goes on there.
            if let Some(shard) = self.shards.get(number) {
                let hint = VirtAddr::from_usize(from);
                let areas = self.read_areas(shard)?;
                let found = areas.find_free_area(hint, size, limit, PAGE_SIZE_4K)?;
                from = found.as_usize();
            }
            let area_end = from.checked_add(size).filter(|area_end| *area_end <= end)?;
            if area_end <= self.shards.range(number).end.as_usize() {
                return Some(VirtAddr::from_usize(from));
            }
            number += 1;
        }
    }

    /// Returns an address in `limit` for a mapping of `size` bytes that may lie anywhere there.
    /// It searches in the arena of this hart first, one of the shards in `limit`, and then in
    /// all of `limit` as [`find_free_area`](Self::find_free_area) does. Harts that map and unmap
    /// in different arenas share no locks and, below the root, no page tables. If there are more
    /// harts than arenas, some harts share an arena.
    pub fn find_free_in_arena(&self, size: usize, limit: VirtAddrRange) -> Option<VirtAddr> {
        let last = limit.end.as_usize().checked_sub(1)?;
        let first = self.shards.number_of(limit.start.as_usize());
        let arenas = self.shards.number_of(last).checked_sub(first)? + 1;
        let arena = clip(self.shards.range(first + M::hart() % arenas), limit);
        let found = self.find_free_area(arena.start, size, arena);
        found.or_else(|| self.find_free_area(limit.start, size, limit))
    }
}
