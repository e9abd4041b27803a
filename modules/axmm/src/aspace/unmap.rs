//! Unmapping: of a range, and of several at once.

use core::cell::Cell;
use core::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;

use super::operation::{Missing, Operation};
use super::write_guard::{Unlocked, WriteGuard};
use super::{AddrSpace, with_memory};
use crate::areas::Span;
use crate::locking::shards::clip;
use crate::machine::Machine;
use crate::tlb::gather::TlbGather;

impl<M: Machine> AddrSpace<M> {
    /// Unmaps `size` bytes from `start` on: whatever is mapped there. When it
    /// returns, no hart can reach the pages, and their frames are free.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as for [`map_linear`](Self::map_linear), for what the kernel itself
    /// runs in, and for what has an [owner](Self::own_from). `NoMemory` for nodes and tables
    /// where an area or a large page must be split, or where the range lies in several shards.
    /// `ResourceBusy` if an interrupt handler calls this while its hart is in the middle of an
    /// operation. Nothing has changed then, except that large pages across the ends of a range
    /// in several shards may have been split.
    pub fn unmap(&self, start: VirtAddr, size: usize) -> AxResult {
        let span = self.changeable(start, size)?;
        with_memory::<M>(|| self.perform(&span, &Unmap::new()))
    }

    /// As [`unmap`](Self::unmap), for the [owner](Self::own_from) of what is mapped there.
    ///
    /// # Errors
    ///
    /// As [`unmap`](Self::unmap), but for the owner.
    ///
    /// # Safety
    ///
    /// The caller owns all that is mapped in the range, and nothing uses it any more.
    pub unsafe fn unmap_owned(&self, start: VirtAddr, size: usize) -> AxResult {
        let span = self.mappable(start, size)?;
        with_memory::<M>(|| self.perform(&span, &Unmap::new()))
    }

    /// Unmaps several ranges in one operation, for the [owner](Self::own_from) of what is
    /// mapped there, so that every hart forgets all of them at once. They come in ascending
    /// order, and each holds areas as a whole.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as for [`map_linear`](Self::map_linear), for ranges in another order,
    /// and for one that holds a part of an area. `NoMemory` and `ResourceBusy` as for
    /// [`unmap`](Self::unmap). Nothing has changed then.
    ///
    /// # Safety
    ///
    /// The caller owns all that is mapped in the ranges, and nothing uses it any more.
    pub unsafe fn unmap_each(
        &self,
        ranges: impl Iterator<Item = Range<VirtAddr>> + Clone,
    ) -> AxResult {
        let spans = ranges.map(|range| range.start.as_usize()..range.end.as_usize());
        let Some(whole) = self.ascending(spans.clone())? else {
            return Ok(());
        };
        self.perform(&whole, &UnmapEach { spans })
    }

    /// From the start of the first span to the end of the last, if there is any.
    fn ascending(&self, mut spans: impl Iterator<Item = Span>) -> AxResult<Option<Span>> {
        spans.try_fold(None, |joined: Option<Span>, span| {
            let span = self.mappable(span.start.into(), span.end.wrapping_sub(span.start))?;
            match joined {
                None => Ok(Some(span)),
                Some(joined) if joined.end <= span.start => Ok(Some(joined.start..span.end)),
                Some(_) => Err(AxError::InvalidInput),
            }
        })
    }
}

/// Unmaps all that there is in the span.
struct Unmap {
    /// Whether the page table may translate some of the span.
    has_pages: Cell<bool>,
}

impl Unmap {
    fn new() -> Self {
        Self {
            has_pages: Cell::new(false),
        }
    }
}

impl<M: Machine> Operation<M> for Unmap {
    const MISSING: Missing = Missing::Skip;

    #[inline(always)]
    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range_and_tables();
        let span = guard.span().clone();
        guard.reserve_cuts(&span)?;
        // The range is locked: no page comes from here on.
        if guard.space().table.is_unpopulated(&span) {
            return Ok(());
        }
        self.has_pages.set(true);
        guard.split_edges()
    }

    #[inline(always)]
    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        self.has_pages.get()
    }

    #[inline(always)]
    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        gather.set_exclusive(unlocked.alone());
        unmap_pages(unlocked.span(), unlocked, gather);
    }

    #[inline(always)]
    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        guard.remove_areas();
        guard.free_tables();
    }
}

/// Unmaps several ranges, each of which holds whole areas.
struct UnmapEach<I> {
    spans: I,
}

impl<I: Iterator<Item = Span> + Clone> UnmapEach<I> {
    /// The parts of the ranges that lie in `span`.
    fn within(&self, span: &Span) -> impl Iterator<Item = Span> + use<I> {
        let bounds = (span.start, span.end - 1);
        let parts = self.spans.clone().map(move |span| clip(&span, bounds));
        parts.filter(|part| part.start < part.end)
    }
}

impl<M: Machine, I: Iterator<Item = Span> + Clone> Operation<M> for UnmapEach<I> {
    const MISSING: Missing = Missing::Skip;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range_and_tables();
        match self
            .within(guard.span())
            .all(|span| guard.holds_whole(&span))
        {
            true => Ok(()),
            false => Err(AxError::InvalidInput),
        }
    }

    fn changes_pages(&self, _guard: &WriteGuard<'_, M>) -> bool {
        true
    }

    fn change(&self, unlocked: &Unlocked<'_, '_, M>, gather: &mut TlbGather<'_, M>) {
        gather.set_exclusive(unlocked.alone());
        for span in self.within(unlocked.span()) {
            unmap_pages(&span, unlocked, gather);
        }
    }

    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        for span in self.within(&guard.span().clone()) {
            guard.remove_areas_in(&span);
        }
        guard.free_tables();
    }
}

/// Unmaps what areas have in `span`. No page lies across an end of it.
fn unmap_pages<M: Machine>(
    span: &Span,
    unlocked: &Unlocked<'_, '_, M>,
    gather: &mut TlbGather<'_, M>,
) {
    let table = &unlocked.space().table;
    let mut from = span.start;
    while let Some(area) = unlocked.area_from(from) {
        let Range { start, end } = area.span();
        if start >= span.end {
            break;
        }
        gather.set_owns_frames(area.backing().owns_frames());
        table.unmap_whole_pages(start.max(span.start)..end.min(span.end), gather);
        if end >= span.end {
            break;
        }
        from = end;
    }
}
