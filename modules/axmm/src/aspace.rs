//! The address space: its areas, and the page table that carries them out.

mod claims;
mod edit;
mod fault;
mod glance;
mod zones;

use core::fmt;
use core::ops::Range;

#[cfg(feature = "hal")]
use axconfig::{USER_BASE, USER_END};
use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr, VirtAddrRange};
use page_table_multiarch::{MappingFlags, PagingMetaData};

use self::claims::Claims;
use self::edit::Apart;
pub use self::fault::Fault;
use self::zones::{AreasCell, Zones};
use crate::areas::{Area, Entry, Span};
use crate::backend::{Backend, Grain};
use crate::context::Context;
use crate::machine::{Machine, ThisMachine};
use crate::pagetable::{Change, Page};
use crate::table::Table;
use crate::tlb::TlbGather;

/// An address space: what each of its addresses means.
///
/// Every operation either does all it was asked to or answers an error and has
/// changed nothing. Addresses and sizes are in bytes and must be multiples of
/// 4 KiB.
///
/// Many harts may call any of them at a time. Operations on ranges that do not overlap
/// run side by side; of two that do, one comes after the other. Who needs several to be
/// one, as to find free addresses and to map them, keeps others out by a lock of its own,
/// or tries again where `AlreadyExists` says that another was faster.
#[repr(C)]
pub struct AddrSpace<M: Machine = ThisMachine> {
    /// Which hart works where: first, since atomics of some machines have no offset.
    claims: Claims<M>,
    range: VirtAddrRange,
    table: Table<M>,
    /// Below this nothing is unmapped or protected.
    fixed_end: usize,
    /// From here on only the owner of a mapping changes it.
    owned_from: usize,
    /// Which harts may remember translations.
    context: Context,
    /// Once harts have met here, these have the claims and the areas.
    zones: Zones<M>,
    /// Changed by the writer alone; others peek.
    areas: AreasCell,
}

/// A page table to look at, while it changes or not.
pub struct TableView<'a, M: Machine>(&'a AddrSpace<M>);

impl<M: Machine> TableView<'_, M> {
    /// The physical address of the root.
    pub fn root(&self) -> PhysAddr {
        self.0.page_table_root()
    }

    /// The page that `vaddr` lies in, if it has a frame.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        self.0.query(vaddr)
    }
}

impl<M: Machine> AddrSpace<M> {
    /// An address space over `size` bytes from `base` on, with nothing mapped.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the range is empty, not page-aligned, or overflows, or if
    /// the page table cannot tell all of its addresses apart; `NoMemory`.
    pub fn new_empty(base: VirtAddr, size: usize) -> AxResult<Self> {
        Self::new(base, size, Context::kernel(), |_| Ok(()))
    }

    /// As [`new_empty`](Self::new_empty), for a user program: a mapping may be
    /// the user's, and writable and executable at once.
    ///
    /// # Errors
    ///
    /// As [`new_empty`](Self::new_empty).
    pub fn new_empty_user(base: VirtAddr, size: usize) -> AxResult<Self> {
        Self::new(base, size, Context::user(), |_| Ok(()))
    }

    /// As [`new_empty_user`](Self::new_empty_user), with the mappings of `other`
    /// ([`copy_mappings_from`](Self::copy_mappings_from)).
    ///
    /// # Errors
    ///
    /// As for both.
    #[inline(always)]
    pub fn new_user_with(base: VirtAddr, size: usize, other: &Self) -> AxResult<Self> {
        let span = base.as_usize()..base.as_usize().saturating_add(size);
        Self::new(base, size, Context::user(), |table| {
            other.lend(table, &span)
        })
    }

    /// It is a few hundred bytes, and made where it is to be.
    #[inline(always)]
    fn new(
        base: VirtAddr,
        size: usize,
        context: Context,
        prepare: impl FnOnce(&mut Table<M>) -> AxResult,
    ) -> AxResult<Self> {
        let span = checked(base, size)?;
        // Both ends in one half, with the bits that no table resolves as they
        // must be: so has all between.
        let (first, last) = (span.start, span.end - 1);
        let translated = M::Meta::vaddr_is_valid(first) && M::Meta::vaddr_is_valid(last);
        if !translated || (first ^ last) >> (usize::BITS - 1) != 0 {
            return Err(AxError::InvalidInput);
        }
        let mut table = Table::<M>::new(M::largest_page(), M::page_mark(context.is_kernel()))?;
        prepare(&mut table)?;
        Ok(Self {
            range: VirtAddrRange::from_start_size(base, span.len()),
            claims: Claims::new()?,
            areas: AreasCell::empty(),
            zones: Zones::none(),
            table,
            fixed_end: 0,
            owned_from: usize::MAX,
            context,
        })
    }

    /// Makes all that is mapped here, now or later, able to be in other address
    /// spaces too ([`copy_mappings_from`](Self::copy_mappings_from)).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a user program's, whose mappings no other address space may
    /// have; `NoMemory` for a table under each entry of the root.
    pub fn share(&self) -> AxResult {
        if !self.context.is_kernel() {
            return Err(AxError::InvalidInput);
        }
        if self.table.is_shared() {
            return Ok(());
        }
        let all = self.span();
        let mut edit = self.edit(&all);
        edit.reach()?;
        edit.claim(&all);
        edit.apart(|apart| {
            let gather = &mut apart.gather(false);
            self.table.share_top(all, self.fixed_end, gather)
        })
    }

    /// Lets all mappings of `other`, which is a kernel's, be seen here too: those made
    /// before, and, if it is made to be [shared](Self::share), those made later. They stay
    /// the other's, and go with it; but the tables that have been lent stay for good.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `other` is a user program's: a change there flushes the TLBs of
    /// the harts inside it, and not of those inside this one. `InvalidInput` also if the
    /// two have addresses under one entry of a root, or there are mappings of another here
    /// already.
    pub fn copy_mappings_from(&mut self, other: &Self) -> AxResult {
        let span = self.span();
        other.lend(&mut self.table, &span)
    }

    /// Lets the table of an address space over `span` see all mappings.
    fn lend(&self, table: &mut Table<M>, span: &Span) -> AxResult {
        let own = self.span();
        let is_kernel = self.context.is_kernel();
        if !is_kernel || table.borrows() || self.table.shares_top(span, &own) {
            return Err(AxError::InvalidInput);
        }
        // No entry of the root goes meanwhile.
        let _kept = self.keep();
        table.copy_top(&self.table, own);
        Ok(())
    }

    /// The first address.
    pub fn base(&self) -> VirtAddr {
        self.range.start
    }

    /// The end: the first address that no longer belongs to it.
    pub fn end(&self) -> VirtAddr {
        self.range.end
    }

    /// The bytes from [`base`](Self::base) to [`end`](Self::end).
    pub fn size(&self) -> usize {
        self.range.size()
    }

    fn span(&self) -> Span {
        self.base().as_usize()..self.end().as_usize()
    }

    /// The page table, to look at.
    pub fn page_table(&self) -> TableView<'_, M> {
        TableView(self)
    }

    /// The page table. Callers see to it that nothing is unmapped while they walk it
    /// ([`keep`](Self::keep)).
    pub(crate) fn table(&self) -> &Table<M> {
        &self.table
    }

    /// The physical address of the page table's root.
    pub fn page_table_root(&self) -> PhysAddr {
        self.table.root()
    }

    /// Whether all of `size` bytes from `start` on lie in the address space.
    pub fn contains_range(&self, start: VirtAddr, size: usize) -> bool {
        let end = start.as_usize().checked_add(size);
        start >= self.base() && end.is_some_and(|end| end <= self.end().as_usize())
    }

    /// Returns the lowest address, not below `hint`, from which `size` bytes of `limit` can
    /// be mapped: they lie in the address space, nothing is mapped there, and they are not
    /// [fixed](Self::fix_below). `None` if there is no such address, or if `size` is not a
    /// multiple of 4 KiB above 0, for which no mapping exists.
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
        let (mut addr, mut from) = (start, hint.as_usize());
        loop {
            let areas = self.look(addr)?;
            // As if nothing were mapped behind what can be looked at.
            from = areas.find_free(from, size, &(start..end), PAGE_SIZE_4K)?;
            if from + (size - 1) <= areas.last() {
                return Some(VirtAddr::from_usize(from));
            }
            addr = areas.last() + 1;
        }
    }

    /// Maps `size` bytes from `start_vaddr` on to the physical addresses from
    /// `start_paddr` on, with the largest pages that fit both.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if an address or the size is not page-aligned, the range is
    /// empty or not within the address space, the machine has no such physical
    /// addresses, or `flags` are rights that a kernel mapping cannot have: none at
    /// all, any without read, or write together with execute. `AlreadyExists` if
    /// something is mapped in the range. `NoMemory`.
    ///
    /// # Safety
    ///
    /// As long as the mapping lasts, whatever is done through it may be done to that
    /// physical memory: copies by [`read`](Self::read) and [`write`](Self::write), and
    /// accesses by a user program. Rust references to the memory allow that at most for
    /// reads, so with the right to write there are none.
    pub unsafe fn map_linear(
        &self,
        start_vaddr: VirtAddr,
        start_paddr: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        // SAFETY: the caller's promise is this function's requirement.
        unsafe { self.map_linear_named("linear", start_vaddr, start_paddr, size, flags) }
    }

    /// As [`map_linear`](Self::map_linear), with a name for people.
    ///
    /// # Errors
    ///
    /// As [`map_linear`](Self::map_linear).
    ///
    /// # Safety
    ///
    /// As [`map_linear`](Self::map_linear).
    pub unsafe fn map_linear_named(
        &self,
        name: &'static str,
        start_vaddr: VirtAddr,
        start_paddr: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        let last = start_paddr
            .as_usize()
            .checked_add(size)
            .and_then(|end| end.checked_sub(1));
        let exists = last.is_some_and(M::Meta::paddr_is_valid);
        if !start_paddr.is_aligned_4k() || !exists || flags.is_empty() {
            return Err(AxError::InvalidInput);
        }
        let pa_va_offset = start_vaddr.as_usize().wrapping_sub(start_paddr.as_usize());
        self.map(
            name,
            start_vaddr,
            size,
            flags,
            Backend::Linear { pa_va_offset },
        )
    }

    /// Maps `size` bytes from `start` on to fresh frames full of zeroes: all now
    /// (`populate`), or each when its page is first touched.
    ///
    /// # Errors
    ///
    /// As [`map_linear`](Self::map_linear); but no rights at all are allowed,
    /// for pages that get some later ([`protect`](Self::protect)).
    pub fn map_alloc(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        populate: bool,
    ) -> AxResult {
        self.map_alloc_with(start, size, flags, populate, Grain::Page)
    }

    /// As [`map_alloc`](Self::map_alloc); each page fault brings as much as `grain`
    /// says, and a large grain populates with large pages where blocks are free.
    ///
    /// # Errors
    ///
    /// As [`map_alloc`](Self::map_alloc); `InvalidInput` also for a grain that
    /// cannot be.
    pub fn map_alloc_with(
        &self,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        populate: bool,
        grain: Grain,
    ) -> AxResult {
        if !grain.is_valid() {
            return Err(AxError::InvalidInput);
        }
        self.map(
            "alloc",
            start,
            size,
            flags,
            Backend::Alloc { populate, grain },
        )
    }

    fn map(
        &self,
        name: &'static str,
        start: VirtAddr,
        size: usize,
        flags: MappingFlags,
        backend: Backend,
    ) -> AxResult {
        let span = self.mappable(start, size)?;
        self.check_rights(flags)?;
        let area = Area::new(span, flags, name, backend);
        with_memory::<M>(|| self.map_area(area))
    }

    #[inline(always)]
    fn map_area(&self, area: Area<Backend>) -> AxResult {
        let (span, flags, backend) = (area.span(), area.flags(), *area.backing());
        let mut edit = self.edit(&span);
        edit.reach()?;
        edit.reserve_insert(&span)?;
        if backend.is_lazy() {
            edit.insert(area);
            return Ok(());
        }
        // One to come, and one if it must be cut out of another again.
        edit.reserve(2)?;
        edit.claim_with_tables(&span);
        // Who looks for room meanwhile sees that it is taken.
        edit.insert(area);
        let mapped = edit.apart(|apart| {
            let undo = &mut apart.gather(backend.owns_frames());
            backend.map::<M>(&self.table, span.clone(), flags, undo)?;
            if flags.contains(MappingFlags::EXECUTE) {
                self.sync_claimed(&span);
            }
            Ok(())
        });
        if mapped.is_err() {
            edit.remove(&span);
            edit.free_tables(&span);
        }
        M::publish_entries();
        mapped
    }

    /// Unmaps `size` bytes from `start` on: whatever is mapped there. When it
    /// returns, no hart can reach the pages, and their frames are free.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as for [`map_linear`](Self::map_linear), for what the kernel itself
    /// runs in, and for what has an [owner](Self::own_from); `NoMemory` if an area or a
    /// large page must be split, or harts have worked apart in parts of the range, and
    /// there is none for that.
    pub fn unmap(&self, start: VirtAddr, size: usize) -> AxResult {
        with_memory::<M>(|| self.unmap_span(self.changeable(start, size)?))
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
        with_memory::<M>(|| self.unmap_span(self.mappable(start, size)?))
    }

    fn unmap_span(&self, span: Span) -> AxResult {
        let mut edit = self.edit(&span);
        edit.reach()?;
        edit.claim_with_tables(&span);
        edit.reserve_cuts(&span)?;
        if !self.table.leads_nowhere(&span) {
            edit.apart(|apart| self.unmap_pages(&span, apart, &mut apart.gather(false)))?;
        }
        edit.remove(&span);
        edit.free_tables(&span);
        let is_zone_spent = edit.is_zone_spent();
        drop(edit);
        if is_zone_spent {
            self.give_up_zone(span.start);
        }
        Ok(())
    }

    /// Unmaps several ranges in one operation, for the [owner](Self::own_from) of what is
    /// mapped there, so that every hart forgets all of them at once. They come in ascending
    /// order, and each holds areas as a whole.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as for [`map_linear`](Self::map_linear), for ranges in another order,
    /// and for one that holds a part of an area; `NoMemory` if harts have worked apart
    /// between the first and the last range, and there is none to join those parts. Nothing
    /// has changed then.
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
        let mut edit = self.edit(&whole);
        edit.reach()?;
        edit.claim_with_tables(&whole);
        if !spans.clone().all(|span| edit.holds_whole(&span)) {
            return Err(AxError::InvalidInput);
        }
        edit.apart(|apart| {
            let gather = &mut apart.gather(false);
            let mut spans = spans.clone();
            spans.try_for_each(|span| self.unmap_pages(&span, apart, gather))
        })?;
        spans.for_each(|span| edit.remove(&span));
        edit.free_tables(&whole);
        Ok(())
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

    /// Unmaps what areas have in `span`. It fails only where a page crosses an end of it.
    fn unmap_pages(
        &self,
        span: &Span,
        apart: &Apart<'_, '_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> AxResult {
        self.table.split_edges(span, gather)?;
        let mut from = span.start;
        while let Some(area) = apart.area_from(from) {
            let Range { start, end } = area.span();
            if start >= span.end {
                break;
            }
            gather.own(area.backing().owns_frames());
            let part = start.max(span.start)..end.min(span.end);
            self.table.unmap_whole(part, gather);
            if end >= span.end {
                break;
            }
            from = end;
        }
        Ok(())
    }

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
        with_memory::<M>(|| self.protect_span(self.changeable(start, size)?, flags))
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
        with_memory::<M>(|| self.protect_span(self.mappable(start, size)?, flags))
    }

    fn protect_span(&self, span: Span, flags: MappingFlags) -> AxResult {
        self.check_rights(flags)?;
        let mut edit = self.edit(&span);
        edit.reach()?;
        edit.claim(&span);
        if !edit.cover(&span) {
            return Err(AxError::NotFound);
        }
        let foreign = |area: Entry<Backend>| !area.backing().owns_frames();
        if flags.is_empty() && edit.overlapping(&span).any(foreign) {
            return Err(AxError::InvalidInput);
        }
        edit.reserve_cuts(&span)?;
        let adds = edit
            .overlapping(&span)
            .all(|area| adds(area.flags(), flags));
        let change = Change {
            flags,
            may_break: edit
                .overlapping(&span)
                .any(|area| Table::<M>::differ_in_kind(area.flags(), flags)),
        };
        edit.apart(|apart| {
            let mut gather = apart.gather(false);
            if adds {
                gather.only_adds();
            }
            self.table.protect(span.clone(), change, &mut gather)?;
            // From here on no hart writes to pages that have lost the right.
            drop(gather);
            M::publish_entries();
            if flags.contains(MappingFlags::EXECUTE) {
                self.sync_claimed(&span);
            }
            AxResult::Ok(())
        })?;
        edit.set_flags(&span, flags);
        Ok(())
    }

    /// Whether all that another address space maps, now or later, is seen here, too: it
    /// had been made to be [shared](Self::share) before its mappings were
    /// [copied](Self::copy_mappings_from). `root` is its page table's.
    pub fn sees_all_of(&self, root: PhysAddr) -> bool {
        self.table.borrows_all_of(root)
    }

    /// Whether a hart can be in it: it is a user program's, in the user half, and its root
    /// has what the kernel needs there. Where one root translates both halves that is all
    /// that the kernel's root, `kernel()`, ever has. Elsewhere it is nothing: there another
    /// address space's entries would translate addresses of the user half.
    #[cfg(feature = "hal")]
    pub(crate) fn is_enterable(&self, kernel: impl FnOnce() -> PhysAddr) -> bool {
        let user_half = USER_BASE..USER_END;
        let in_user_half =
            user_half.contains(&self.base().as_usize()) && self.end().as_usize() <= USER_END;
        if self.context.is_kernel() || !in_user_half {
            return false;
        }
        match axhal::paging::ONE_ROOT {
            true => self.sees_all_of(kernel()),
            false => !self.table.borrows(),
        }
    }

    /// Which harts may remember translations.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether every page of the range may be accessed with `flags`, now or
    /// after a page fault.
    pub fn can_access_range(&self, start: VirtAddr, size: usize, flags: MappingFlags) -> bool {
        let Some(end) = start.as_usize().checked_add(size) else {
            return false;
        };
        let span = start.as_usize()..end;
        let mut reached = span.start;
        while reached < span.end {
            match self.area_at(VirtAddr::from_usize(reached)) {
                Some(area) if area.flags().contains(flags) => reached = area.span().end,
                _ => return false,
            }
        }
        true
    }

    /// Unmaps everything.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for the kernel's own; never for lack of memory, since no area
    /// is cut.
    pub fn clear(&self) -> AxResult {
        match self.unmap(self.base(), self.size()) {
            Err(AxError::NoMemory) => self.clear_zones(),
            cleared => cleared,
        }
    }

    /// The same one zone after the other.
    #[cold]
    fn clear_zones(&self) -> AxResult {
        let mut from = self.base().as_usize();
        let end = self.end().as_usize();
        while from < end {
            let last = self.look(from).ok_or(AxError::BadState)?.last();
            let to = last.saturating_add(1).min(end);
            self.unmap(from.into(), to - from)?;
            from = to;
        }
        Ok(())
    }

    /// Everything that is mapped, in order: addresses, rights, name, and whether
    /// the frames are the mapping's own.
    pub fn areas(&self) -> impl Iterator<Item = Area<Backend>> {
        self.areas_from(VirtAddr::from_usize(0))
    }

    /// As [`areas`](Self::areas), from the one on that ends above `vaddr`. Each is as it
    /// is when it is answered.
    pub fn areas_from(&self, vaddr: VirtAddr) -> impl Iterator<Item = Area<Backend>> {
        let mut from = vaddr.as_usize();
        core::iter::from_fn(move || {
            loop {
                let areas = self.look(from)?;
                if let Some(area) = areas.iter_from(from).next() {
                    from = area.end();
                    return Some(area.area());
                }
                from = areas.last().checked_add(1)?;
            }
        })
    }

    /// What is mapped at `vaddr`.
    pub fn area_at(&self, vaddr: VirtAddr) -> Option<Area<Backend>> {
        let part = self.part_at(vaddr.as_usize());
        match part.and_then(|part| part.areas.peek(vaddr.as_usize())) {
            Some((area, _)) => Some(area),
            None => self.area_for_certain(vaddr),
        }
    }

    /// The same where it has to be looked up without others changing anything.
    #[cold]
    pub(crate) fn area_for_certain(&self, vaddr: VirtAddr) -> Option<Area<Backend>> {
        let areas = self.look(vaddr.as_usize())?;
        let area = areas.find(vaddr.as_usize())?;
        Some(area.area())
    }

    /// The page that `vaddr` lies in, if it has a frame.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        let _pin = M::pin();
        let _bringing = self.bringing(vaddr)?;
        self.table.query(vaddr)
    }

    /// Keeps what is mapped below `end` as it is from now on, for it is what the kernel
    /// itself runs in: nothing is mapped, unmapped or protected there, and no bytes are
    /// copied out of it or into it. What is fixed already stays so.
    pub fn fix_below(&mut self, end: VirtAddr) {
        self.fixed_end = self.fixed_end.max(end.as_usize());
    }

    /// Gives what is mapped from `start` on to the code that mapped it, its owner: only
    /// [`unmap_owned`](Self::unmap_owned) and [`protect_owned`](Self::protect_owned) change
    /// it, and no bytes are copied out of it or into it. So references to it can be valid.
    /// What has owners already keeps them.
    pub fn own_from(&mut self, start: VirtAddr) {
        self.owned_from = self.owned_from.min(start.as_usize());
    }

    /// Whether bytes at `vaddr` may be copied: Rust code has references to what the kernel
    /// runs in, and to what has an owner.
    pub(crate) fn may_copy(&self, vaddr: VirtAddr) -> bool {
        (self.fixed_end..self.owned_from).contains(&vaddr.as_usize())
    }

    /// Rights that a mapping can have. Read comes with all others: not every
    /// machine can do without (RISC-V Privileged Architecture, "Encoding of PTE
    /// R/W/X fields").
    fn check_rights(&self, flags: MappingFlags) -> AxResult {
        let write_and_execute = MappingFlags::WRITE | MappingFlags::EXECUTE;
        let some = flags.intersects(write_and_execute | MappingFlags::READ);
        let for_users = flags.contains(MappingFlags::USER) || flags.contains(write_and_execute);
        if (for_users && self.context.is_kernel())
            || (some && !flags.contains(MappingFlags::READ))
            || (!some && !flags.is_empty())
        {
            return Err(AxError::InvalidInput);
        }
        Ok(())
    }

    /// The range, if what is mapped there has no owner and is not fixed.
    fn changeable(&self, start: VirtAddr, size: usize) -> AxResult<Span> {
        let span = self.mappable(start, size)?;
        match span.end <= self.owned_from {
            true => Ok(span),
            false => Err(AxError::InvalidInput),
        }
    }

    /// The range, if it is not fixed.
    fn mappable(&self, start: VirtAddr, size: usize) -> AxResult<Span> {
        let span = self.checked(start, size)?;
        match span.start >= self.fixed_end {
            true => Ok(span),
            false => Err(AxError::InvalidInput),
        }
    }

    fn checked(&self, start: VirtAddr, size: usize) -> AxResult<Span> {
        let span = checked(start, size)?;
        match self.contains_range(start, size) {
            true => Ok(span),
            false => Err(AxError::InvalidInput),
        }
    }
}

/// Does `work`, again as long as there is no memory for it and other modules give some
/// back. No lock of this module is held here.
#[inline(always)]
fn with_memory<M: Machine>(work: impl Fn() -> AxResult) -> AxResult {
    loop {
        match work() {
            Err(AxError::NoMemory) if M::reclaim() => {}
            result => return result,
        }
    }
}

/// Whether pages with the rights `after` may be accessed in every way that they may be with
/// `before`, and are the same kind of memory.
fn adds(before: MappingFlags, after: MappingFlags) -> bool {
    let rights = MappingFlags::READ | MappingFlags::WRITE | MappingFlags::EXECUTE;
    after.contains(before) && rights.contains(after ^ before)
}

fn checked(start: VirtAddr, size: usize) -> AxResult<Span> {
    let end = start
        .as_usize()
        .checked_add(size)
        .ok_or(AxError::InvalidInput)?;
    if size == 0 || !start.is_aligned_4k() || !VirtAddr::from_usize(end).is_aligned_4k() {
        return Err(AxError::InvalidInput);
    }
    Ok(start.as_usize()..end)
}

// SAFETY: the areas are `Sync`. A line of the claims is its hart's, and harts are told
// apart as `Machine` promises.
unsafe impl<M: Machine + Sync> Sync for AddrSpace<M> {}

// SAFETY: it belongs to no hart.
unsafe impl<M: Machine> Send for AddrSpace<M> {}

impl<M: Machine> Drop for AddrSpace<M> {
    /// Frees what the mappings own, then the page table.
    fn drop(&mut self) {
        debug_assert!(self.context.is_kernel() || self.context.is_left());
        self.fixed_end = 0;
        self.owned_from = usize::MAX;
        // It only fails where an area is cut, and none is.
        let _ = self.clear();
    }
}

impl<M: Machine> fmt::Debug for AddrSpace<M> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{:#x}..{:#x}", self.base(), self.end())?;
        for area in self.areas() {
            let Range { start, end } = area.span();
            writeln!(
                f,
                "  {start:#018x}..{end:#018x} {:?} {}",
                area.flags(),
                area.name()
            )?;
        }
        Ok(())
    }
}
