//! The set of areas: what all kinds of backends have in common.

use core::marker::PhantomData;
use core::ops::Range;

use memory_addr::AddrRange;

use crate::area::MemoryArea;
use crate::backend::{AreaBackend, MappingBackend};
use crate::error::NoMemory;
use crate::sync::const_unless_loom;
use crate::tree::Tree;

/// The areas of an address space, which do not overlap.
///
/// With a [`MappingBackend`] it has the methods of the published crate. They need `&mut self`,
/// change the page table together with the areas, and never merge neighbours.
///
/// With a [`WordBackend`](crate::WordBackend) it has others, for a set that one thread at a time
/// changes under a lock while other threads look areas up
/// ([`SharedMemorySet`](crate::SharedMemorySet)). They reserve memory before anything is
/// changed, leave the page table to their caller, and merge neighbours.
pub struct MemorySet<B: AreaBackend> {
    pub(crate) tree: Tree<B::Slot>,
    /// Words alone would be `Send`, whatever backend they stand for.
    areas: PhantomData<MemoryArea<B>>,
}

// SAFETY: the public `&self` methods of a set with a `MappingBackend` only read the nodes, the
// cursor and, by reference, areas. Only `&mut self` methods call the private ones that move the
// cursor. So threads may share a set if they may share an area.
unsafe impl<B> Sync for MemorySet<B>
where
    B: MappingBackend + Sync,
    B::Addr: Sync,
    B::Flags: Sync,
{
}

impl<B: AreaBackend> MemorySet<B> {
    const_unless_loom! {
        /// Returns a set without areas.
        pub fn new() -> Self {
            Self {
                tree: Tree::new(),
                areas: PhantomData,
            }
        }
    }

    /// Returns the number of areas.
    pub fn len(&self) -> usize {
        self.tree.iter_from(0).count()
    }

    /// Returns whether there are no areas.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Returns whether `range` overlaps with an area.
    pub fn overlaps(&self, range: AddrRange<B::Addr>) -> bool {
        let first = self.tree.iter_from(range.start.into()).next();
        first.is_some_and(|area| area.start() < range.end.into() && range.start.into() < area.end())
    }

    /// Returns the lowest address, not below `hint`, at which `size` free bytes inside `limit`
    /// start. The address is a multiple of `align`, a power of two. Returns `None` if there is no
    /// such address, or if `size` is not a multiple of `align`.
    pub fn find_free_area(
        &self,
        hint: B::Addr,
        size: usize,
        limit: AddrRange<B::Addr>,
        align: usize,
    ) -> Option<B::Addr> {
        if !size.is_multiple_of(align) {
            return None;
        }
        let limit = limit.start.into()..limit.end.into();
        let found = self.find_free(hint.into(), size, &limit, align);
        found.map(B::Addr::from)
    }

    /// Does the work of [`find_free_area`](Self::find_free_area), with numbers for addresses.
    /// `size` need not be a multiple of `align`.
    #[inline(always)]
    pub(crate) fn find_free(
        &self,
        hint: usize,
        size: usize,
        limit: &Range<usize>,
        align: usize,
    ) -> Option<usize> {
        // An address is free for no bytes if one byte is free there.
        let needed = size.max(1);
        let mut from = hint.max(limit.start);
        loop {
            let gap = self.tree.gap(from, needed);
            let start = gap.start.max(from).checked_next_multiple_of(align)?;
            let needed_end = start.checked_add(needed)?;
            if start + size > limit.end {
                return None;
            }
            if needed_end <= gap.end {
                return Some(start);
            }
            from = gap.end;
        }
    }

    /// Makes sure that the areas can be split at both ends of `range` without allocating memory.
    /// A split at an end that lies inside an area adds one area.
    #[inline(always)]
    pub(crate) fn reserve_splits(&self, range: &Range<usize>) -> Result<(), NoMemory> {
        let position = self.tree.seek(range.start);
        let Some(first) = self.tree.at(position) else {
            return Ok(());
        };
        let is_inside = |addr, start, end| start < addr && addr < end;
        let (first_start, first_end) = (first.start(), first.end());
        let splits_at_start = is_inside(range.start, first_start, first_end);
        let splits_at_end = match first_end < range.end {
            true => {
                let last = self.tree.iter_from(range.end).next();
                last.is_some_and(|last| is_inside(range.end, last.start(), last.end()))
            }
            false => is_inside(range.end, first_start, first_end),
        };
        match usize::from(splits_at_start) + usize::from(splits_at_end) {
            0 => Ok(()),
            count => self.tree.reserve(count),
        }
    }
}

impl<B: AreaBackend> Default for MemorySet<B> {
    fn default() -> Self {
        Self::new()
    }
}
