//! The methods of the published crate: areas and page table are changed together.

use core::fmt;

use memory_addr::{AddrRange, MemoryAddr};

use crate::area::MemoryArea;
use crate::backend::{AreaBackend, MappingBackend};
use crate::error::{MappingError, MappingResult};
use crate::node::leaf::SlotRef;
use crate::node::slot::OwnedSlot;
use crate::set::MemorySet;

impl<B: MappingBackend> AreaBackend for B {
    type Addr = B::Addr;
    type Flags = B::Flags;
    type Slot = OwnedSlot<MemoryArea<B>>;
}

/// The part of an area that lies in the range of an operation.
struct Part<A> {
    start: A,
    end: A,
    /// Whether the area has addresses before the part.
    has_before: bool,
    /// Whether the area has addresses after the part.
    has_after: bool,
}

impl<B: MappingBackend> MemorySet<B> {
    /// Returns all areas in order.
    pub fn iter(&self) -> impl Iterator<Item = &MemoryArea<B>> {
        self.tree.iter_from(0).map(Self::area)
    }

    /// Returns the area that contains `addr`.
    #[inline]
    pub fn find(&self, addr: B::Addr) -> Option<&MemoryArea<B>> {
        let found = self.tree.iter_from(addr.into()).next()?;
        let area = Self::area(found);
        area.va_range().contains(addr).then_some(area)
    }

    /// Maps `area` and adds it to the set.
    ///
    /// If `unmap_overlap` is true, the parts of existing areas that overlap with it are unmapped
    /// first.
    ///
    /// # Errors
    ///
    /// Returns `InvalidParam` if the area is empty, and `AlreadyExists` if it overlaps with an
    /// existing area and `unmap_overlap` is false. Returns `BadState` if the backend fails, or
    /// if there is no memory for the set. After an error the set is as it was, except for
    /// overlapping parts that were unmapped already.
    pub fn map(
        &mut self,
        area: MemoryArea<B>,
        page_table: &mut B::PageTable,
        unmap_overlap: bool,
    ) -> MappingResult {
        let range = area.range();
        if range.is_empty() {
            return Err(MappingError::InvalidParam);
        }
        let mut position = self.tree.seek(range.start);
        let next = self.tree.at(position);
        match next.is_some_and(|next| next.start() < range.end) {
            false => self.tree.reserve(1)?,
            true if !unmap_overlap => return Err(MappingError::AlreadyExists),
            true => {
                // One area for the split that unmapping may cause, and one for `area`.
                self.tree.reserve(2)?;
                self.unmap(area.start(), area.size(), page_table)?;
                position = self.tree.seek(range.start);
            }
        }
        let backend = area.backend();
        if !backend.map(area.start(), area.size(), area.flags(), page_table) {
            return Err(MappingError::BadState);
        }
        self.tree.insert(position, &range, area);
        Ok(())
    }

    /// Unmaps `size` bytes from `start` on, and cuts them out of the areas. An area that reaches
    /// beyond the range on both sides becomes two.
    ///
    /// # Errors
    ///
    /// Returns `InvalidParam` if `start + size` overflows. Returns `BadState` before any change if
    /// an end of the range lies inside an area and there is no memory to split that area. Returns
    /// `BadState` if a backend fails. The areas in the range before that backend's are then
    /// unmapped. That backend's area and those after it are as they were.
    pub fn unmap(
        &mut self,
        start: B::Addr,
        size: usize,
        page_table: &mut B::PageTable,
    ) -> MappingResult {
        let range =
            AddrRange::try_from_start_size(start, size).ok_or(MappingError::InvalidParam)?;
        if range.is_empty() {
            return Ok(());
        }
        self.reserve_splits(&(start.into()..range.end.into()))?;
        while let Some((position, part)) = self.first_part(range) {
            self.unmap_part(position, &part, page_table)?;
            if part.end >= range.end {
                break;
            }
        }
        Ok(())
    }

    /// Unmaps all areas and removes them.
    ///
    /// # Errors
    ///
    /// Returns `BadState` if a backend fails. The areas before that backend's are then removed.
    pub fn clear(&mut self, page_table: &mut B::PageTable) -> MappingResult {
        self.unmap(0.into(), usize::MAX, page_table)
    }

    /// Changes the flags of `size` bytes from `start` on.
    ///
    /// `update_flags` gets the old flags of each area that overlaps with the range, and returns
    /// the new ones, or `None` to leave the area alone. Areas that reach beyond the range are
    /// split at its ends.
    ///
    /// # Errors
    ///
    /// Returns `InvalidParam` if `start + size` overflows. Returns `BadState` before any change if
    /// an end of the range lies inside an area and there is no memory to split that area. Returns
    /// `BadState` if a backend fails. The areas in the range before that backend's then have new
    /// flags. That backend's area and those after it have their old flags.
    pub fn protect(
        &mut self,
        start: B::Addr,
        size: usize,
        update_flags: impl Fn(B::Flags) -> Option<B::Flags>,
        page_table: &mut B::PageTable,
    ) -> MappingResult {
        let end = start.checked_add(size).ok_or(MappingError::InvalidParam)?;
        let mut rest = AddrRange { start, end };
        if rest.is_empty() {
            return Ok(());
        }
        self.reserve_splits(&(start.into()..end.into()))?;
        while let Some((position, part)) = self.first_part(rest) {
            if let Some(area) = self.area_mut(position)
                && let Some(new_flags) = update_flags(area.flags())
            {
                let area = match part.has_before || part.has_after {
                    true => self.split_off(position, &part),
                    false => Some(area),
                };
                area.map_or(Ok(()), |area| protect_area(area, new_flags, page_table))?;
            }
            if part.end >= end {
                break;
            }
            rest.start = part.end;
        }
        Ok(())
    }

    /// Moves the cursor to the leaf of the first area that overlaps with `range`. Returns the
    /// area's position in the leaf, and the part of the area that lies in `range`.
    #[inline]
    fn first_part(&self, range: AddrRange<B::Addr>) -> Option<(usize, Part<B::Addr>)> {
        let position = self.tree.seek(range.start.into());
        let found = self.tree.at(position)?;
        let (start, end) = (B::Addr::from(found.start()), B::Addr::from(found.end()));
        let part = Part {
            start: start.max(range.start),
            end: end.min(range.end),
            has_before: start < range.start,
            has_after: range.end < end,
        };
        (start < range.end).then_some((position, part))
    }

    /// Unmaps a part of the area at the cursor's `position`.
    fn unmap_part(
        &mut self,
        position: usize,
        part: &Part<B::Addr>,
        page_table: &mut B::PageTable,
    ) -> MappingResult {
        let Some(area) = self.area_mut(position) else {
            return Ok(());
        };
        let range_after = AddrRange {
            start: part.end,
            end: area.end(),
        };
        // What lies before the part keeps the slot. So what lies after it becomes a new area.
        let new_area = (part.has_before && part.has_after).then(|| area.part(range_after));
        let size = part.end.wrapping_sub_addr(part.start);
        if !area.backend().unmap(part.start, size, page_table) {
            return Err(MappingError::BadState);
        }
        match (part.has_before, part.has_after) {
            (false, false) => drop(self.tree.remove(position)),
            (false, true) => {
                area.set_start(part.end);
                self.tree.set_start(position, part.end.into());
            }
            (true, _) => {
                area.set_end(part.start);
                self.tree.set_end(position, part.start.into());
            }
        }
        if let Some(new_area) = new_area {
            self.tree.insert(position + 1, &new_area.range(), new_area);
        }
        Ok(())
    }

    /// Makes a part of the area at the cursor's `position` an area of its own, and returns that
    /// area. Each split can change leaf and position, so the part is searched again. The caller
    /// has reserved nodes.
    fn split_off(&mut self, position: usize, part: &Part<B::Addr>) -> Option<&mut MemoryArea<B>> {
        if part.has_after {
            self.split_area(position, part.end);
        }
        if part.has_before {
            let position = self.tree.seek(part.start.into());
            self.split_area(position, part.start);
        }
        let position = self.tree.seek(part.start.into());
        self.area_mut(position)
    }

    /// Splits the area at the cursor's `position` at `addr`, which lies inside it.
    fn split_area(&mut self, position: usize, addr: B::Addr) {
        if let Some(area) = self.area_mut(position) {
            let end = area.end();
            let after = area.part(AddrRange { start: addr, end });
            area.set_end(addr);
            self.tree.set_end(position, addr.into());
            self.tree.insert(position + 1, &after.range(), after);
        }
    }

    #[inline(always)]
    fn area<'a>(found: SlotRef<'a, OwnedSlot<MemoryArea<B>>>) -> &'a MemoryArea<B> {
        // SAFETY: a `SlotRef` refers to an occupied slot. It borrows the set, and only methods with
        // `&mut self` change slots.
        unsafe { found.slot().get() }
    }

    /// Returns the area at the cursor's `position`.
    #[inline(always)]
    fn area_mut(&mut self, position: usize) -> Option<&mut MemoryArea<B>> {
        let found = self.tree.at(position)?;
        // SAFETY: a `SlotRef` refers to an occupied slot. `&mut self` is exclusive access, and the
        // reference borrows it.
        Some(unsafe { found.slot().get_mut() })
    }
}

/// Gives `area` new flags.
fn protect_area<B: MappingBackend>(
    area: &mut MemoryArea<B>,
    new_flags: B::Flags,
    page_table: &mut B::PageTable,
) -> MappingResult {
    let (start, size) = (area.start(), area.size());
    if !area.backend().protect(start, size, new_flags, page_table) {
        return Err(MappingError::BadState);
    }
    area.set_flags(new_flags);
    Ok(())
}

impl<B: MappingBackend> fmt::Debug for MemorySet<B>
where
    B::Addr: fmt::Debug,
    B::Flags: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
