//! Unmapping: of a range, of several ranges at once, of everything.

use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::Ordering;

use axerrno::{AxError, AxResult};
use memory_addr::{VirtAddr, VirtAddrRange};

use super::objects::EndedMappings;
use super::operation::{MissingShard, Operation, with_memory};
use super::space::AddrSpace;
use super::write_guard::{Unlocked, WriteGuard};
use crate::addr::{as_span, clip};
use crate::machine::Machine;
use crate::page_table::Flusher;
use crate::tlb::gather::TlbGather;

impl<M: Machine> AddrSpace<M> {
    /// Unmaps whatever is mapped in `size` bytes from `start` on. When this returns, no hart can
    /// reach the pages, and their frames are free.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range is empty, not page-aligned, not in the address space,
    ///   [fixed](Self::fix_below), or [owned](Self::own_from).
    /// - `NoMemory` if an area or a large page must be split. A range in several shards also needs
    ///   memory to keep room for areas in each shard.
    /// - `ResourceBusy` in some interrupt handlers ([`AddrSpace`]).
    ///
    /// Nothing has changed then, except that large pages across the ends of a range in several
    /// shards may have been split.
    pub fn unmap(&self, start: VirtAddr, size: usize) -> AxResult {
        let range = self.changeable(start, size)?;
        with_memory::<M, _>(|| self.perform(range, &Unmap::new()))
    }

    /// Unmaps a range for the [owner](Self::own_from) of what is mapped there.
    ///
    /// # Errors
    ///
    /// Those of [`unmap`](Self::unmap), but an owned range is no error.
    ///
    /// # Safety
    ///
    /// The caller owns all that is mapped in the range, and nothing uses it any more.
    pub unsafe fn unmap_owned(&self, start: VirtAddr, size: usize) -> AxResult {
        let range = self.mappable(start, size)?;
        with_memory::<M, _>(|| self.perform(range, &Unmap::new()))
    }

    /// Unmaps several ranges in one operation, with one TLB shootdown, for the
    /// [owner](Self::own_from) of what is mapped there. The ranges are in ascending order, and
    /// no area lies partly in one of them.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if a range is empty, not page-aligned, not in the address space, or
    ///   [fixed](Self::fix_below), if the ranges are in another order, or if one holds a part of
    ///   an area.
    /// - `NoMemory` if the ranges lie in several shards, and there is no memory to keep room for
    ///   areas in each of them. Cached memory is not reclaimed, because the function that reclaims
    ///   it calls this one.
    /// - `ResourceBusy` as for [`unmap`](Self::unmap).
    ///
    /// Nothing has changed then.
    ///
    /// # Safety
    ///
    /// The caller owns all that is mapped in the ranges, and nothing uses it any more.
    pub unsafe fn unmap_each(
        &self,
        ranges: impl Iterator<Item = Range<VirtAddr>> + Clone,
    ) -> AxResult {
        let ranges = ranges.map(|Range { start, end }| VirtAddrRange { start, end });
        let Some(whole) = self.ascending(ranges.clone())? else {
            return Ok(());
        };
        self.perform(
            whole,
            &UnmapEach {
                ranges,
                has_left: Cell::new(false),
            },
        )
    }

    /// Checks that `ranges` are mappable and in ascending order. Returns the range from the
    /// start of the first to the end of the last, if there is any.
    fn ascending(
        &self,
        mut ranges: impl Iterator<Item = VirtAddrRange>,
    ) -> AxResult<Option<VirtAddrRange>> {
        ranges.try_fold(None, |whole: Option<VirtAddrRange>, range| {
            let size = range.end.as_usize().wrapping_sub(range.start.as_usize());
            let range = self.mappable(range.start, size)?;
            match whole {
                None => Ok(Some(range)),
                Some(whole) if whole.end <= range.start => Ok(Some(VirtAddrRange {
                    start: whole.start,
                    end: range.end,
                })),
                Some(_) => Err(AxError::InvalidInput),
            }
        })
    }

    /// Unmaps everything in the address space.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if anything is [fixed](Self::fix_below) or [owned](Self::own_from), as in
    /// the kernel's address space. `ResourceBusy` as for [`unmap`](Self::unmap). Never
    /// `NoMemory`, because no area is split.
    pub fn clear(&self) -> AxResult {
        match self.unmap(self.base(), self.size()) {
            Err(AxError::NoMemory) => self.clear_shards(),
            cleared => cleared,
        }
    }

    /// Unmaps everything, one shard after another. An unmap of a whole shard allocates nothing.
    #[cold]
    fn clear_shards(&self) -> AxResult {
        (0..self.shards.count()).try_for_each(|number| {
            let part = clip(self.va_range, self.shards.range(number));
            self.unmap(part.start, part.size())
        })
    }
}

/// The operation that unmaps a range.
struct Unmap<M: Machine> {
    /// Whether the page table may translate some of the range.
    has_pages: Cell<bool>,
    /// Whether pages wait for the flush in their entries ([`unmap_left_pages`]).
    has_left: Cell<bool>,
    ended: EndedMappings<M>,
}

impl<M: Machine> Unmap<M> {
    fn new() -> Self {
        Self {
            has_pages: Cell::new(false),
            has_left: Cell::new(false),
            ended: EndedMappings::new(),
        }
    }

    /// Counts what is unmapped of objects.
    #[cold]
    #[inline(never)]
    fn end_mappings(&self, guard: &mut WriteGuard<'_, M>) {
        let range = guard.range();
        guard.all_areas(|area| {
            self.ended
                .unmapped(area, clip(area.va_range(), range).size());
            true
        });
    }
}

impl<M: Machine> Operation<M> for Unmap<M> {
    const MISSING_SHARD: MissingShard = MissingShard::Skip;

    #[inline(always)]
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range_and_tables();
        let span = as_span(guard.range());
        guard.reserve_cut(guard.range())?;
        // No fault maps a page in the range from here on: on one hart because interrupts are out,
        // otherwise because the range is locked.
        if guard.space().table.is_unpopulated(&span) {
            return Ok(());
        }
        self.has_pages.set(true);
        guard.split_edges(guard.range())
    }

    #[inline(always)]
    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        self.has_pages.get()
    }

    #[inline(always)]
    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        // Several shards share the gather, but each has a locked range of its own.
        gather.set_exclusive(unlocked.exclusive());
        unmap_pages(unlocked.range(), unlocked, gather);
        self.has_left.set(gather.has_left_entries());
    }

    #[inline(always)]
    fn after_flush(&self, unlocked: &Unlocked<'_, '_, M>) {
        if self.has_left.get() {
            unmap_left_pages(unlocked.range(), unlocked);
        }
    }

    #[inline(always)]
    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        let range = guard.range();
        // Relaxed: the area of an object was added after the store, with the index lock held.
        if cfg!(feature = "objects") && guard.space().maps_objects.load(Ordering::Relaxed) {
            self.end_mappings(guard);
        }
        guard.remove_areas(range);
        guard.free_tables();
    }
}

/// The operation that unmaps several ranges, at whose ends no area is cut.
struct UnmapEach<I> {
    ranges: I,
    /// Whether pages wait for the flush in their entries ([`unmap_left_pages`]).
    has_left: Cell<bool>,
}

impl<I: Iterator<Item = VirtAddrRange> + Clone> UnmapEach<I> {
    /// The parts of the ranges that lie in `limits`.
    fn within(&self, limits: VirtAddrRange) -> impl Iterator<Item = VirtAddrRange> + use<I> {
        let parts = self.ranges.clone().map(move |range| clip(range, limits));
        parts.filter(|part| !part.is_empty())
    }
}

impl<M: Machine, I: Iterator<Item = VirtAddrRange> + Clone> Operation<M> for UnmapEach<I> {
    const MISSING_SHARD: MissingShard = MissingShard::Skip;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range_and_tables();
        let mut ranges = self.within(guard.range());
        if !ranges.all(|range| guard.has_whole_areas(range)) {
            return Err(AxError::InvalidInput);
        }
        // An owner maps no objects.
        if cfg!(feature = "objects") && !guard.all_areas(|area| area.backend().object().is_none()) {
            return Err(AxError::InvalidInput);
        }
        self.within(guard.range())
            .try_for_each(|range| guard.split_edges(range))
    }

    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        true
    }

    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        gather.set_exclusive(unlocked.exclusive());
        for range in self.within(unlocked.range()) {
            unmap_pages(range, unlocked, gather);
        }
        self.has_left.set(gather.has_left_entries());
    }

    fn after_flush(&self, unlocked: &Unlocked<'_, '_, M>) {
        if self.has_left.get() {
            for range in self.within(unlocked.range()) {
                unmap_left_pages(range, unlocked);
            }
        }
    }

    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        for range in self.within(guard.range()) {
            guard.remove_areas(range);
        }
        guard.free_tables();
    }
}

/// Unmaps the pages of all areas in `range`. No page lies across an end of it.
fn unmap_pages<M: Machine>(
    range: VirtAddrRange,
    unlocked: &Unlocked<'_, '_, M>,
    gather: &mut TlbGather<'_, M>,
) {
    let table = &unlocked.space().table;
    for stretch in unlocked.stretches(range) {
        gather.set_owns_frames(stretch.owns_frames);
        table.unmap_whole_pages(stretch.pages, gather);
    }
}

/// Unmaps the pages in `range` whose frames have other owners, and have been left in their entries
/// until all TLBs were flushed.
#[cold]
fn unmap_left_pages<M: Machine>(range: VirtAddrRange, unlocked: &Unlocked<'_, '_, M>) {
    let mut gather = unlocked.gather();
    gather.set_flushed();
    unmap_pages(range, unlocked, &mut gather);
    gather.finish();
}
