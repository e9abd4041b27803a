//! The address space: its areas, and the page table that carries them out.

mod code;
mod fault;
mod map;
mod operation;
mod protect;
mod query;
mod unmap;
mod user_copy;
pub(crate) mod write_guard;

use core::fmt;
use core::ops::Range;

#[cfg(feature = "hal")]
use axconfig::{USER_BASE, USER_END};
use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr, VirtAddrRange};
use page_table_multiarch::{MappingFlags, PagingMetaData};

pub use self::fault::Fault;
use self::operation::{Missing, Operation};
use self::write_guard::WriteGuard;
use crate::areas::{Area, Span};
use crate::backing::Backend;
use crate::locking::shards::{Places, Shards, clip};
use crate::machine::{Machine, ThisMachine};
use crate::page_table::frames::Table;
use crate::page_table::{Page, VisitPosition, Visited};
use crate::tlb::state::TlbState;

/// An address space: what each of its addresses means.
///
/// Every operation either does all it was asked to or answers an error and has
/// changed nothing. Addresses and sizes are in bytes and must be multiples of
/// 4 KiB.
///
/// Many harts may call any of them at a time. Operations on ranges that do not overlap run
/// side by side. Overlapping operations are serialized in the order in which they were
/// called. A caller that needs several operations to be one, as to find free addresses and
/// to map them, uses a lock of its own, or tries again when `AlreadyExists` says that another
/// hart was faster.
///
/// An operation keeps interrupts out for a bounded time, whatever its size, unless its caller
/// keeps them out. Called by an interrupt handler that has interrupted an operation of the
/// same hart, it fails with `ResourceBusy`; a page fault of such a handler in what is being
/// changed is [`Fault::Nested`].
#[repr(C)]
pub struct AddrSpace<M: Machine = ThisMachine> {
    /// The areas and their locks: first, since atomics of some machines have no offset.
    shards: Shards<M>,
    range: VirtAddrRange,
    table: Table<M>,
    /// Below this nothing is unmapped or protected.
    fixed_end: usize,
    /// From here on only the owner of a mapping changes it.
    owned_from: usize,
    /// Which harts may remember translations.
    tlb_state: TlbState,
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
        Self::new(base, size, TlbState::kernel(), |_| Ok(()))
    }

    /// As [`new_empty`](Self::new_empty), for a user program: a mapping may be
    /// the user's, and writable and executable at once.
    ///
    /// # Errors
    ///
    /// As [`new_empty`](Self::new_empty).
    pub fn new_empty_user(base: VirtAddr, size: usize) -> AxResult<Self> {
        Self::new(base, size, TlbState::user(), |_| Ok(()))
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
        Self::new(base, size, TlbState::user(), |table| {
            other.lend(table, &span)
        })
    }

    /// It is a few hundred bytes, and made where it is to be.
    #[inline(always)]
    fn new(
        base: VirtAddr,
        size: usize,
        tlb_state: TlbState,
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
        let mut table = Table::<M>::new(M::largest_page(), M::page_mark(tlb_state.is_kernel()))?;
        prepare(&mut table)?;
        let entry = Table::<M>::entry_size(Table::<M>::LEVELS - 1);
        let places = Places::new(&span, entry.ilog2())?;
        Ok(Self {
            shards: Shards::new(places),
            range: VirtAddrRange::from_start_size(base, span.len()),
            table,
            fixed_end: 0,
            owned_from: usize::MAX,
            tlb_state,
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
        if !self.tlb_state.is_kernel() {
            return Err(AxError::InvalidInput);
        }
        if self.table.is_shared() {
            return Ok(());
        }
        let Span { start, end } = self.span();
        let changing = start.max(self.fixed_end)..end;
        match changing.is_empty() {
            true => self.table.share_root(start..end, self.fixed_end),
            false => self.perform(&changing, &Share)?,
        }
        Ok(())
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
        let is_kernel = self.tlb_state.is_kernel();
        if !is_kernel || table.borrows() || self.table.share_root_entry(span, &own) {
            return Err(AxError::InvalidInput);
        }
        // Of a shared table no entry of the root goes.
        if self.table.is_shared() {
            table.copy_root_entries(&self.table, own);
            return Ok(());
        }
        let shards = 0..self.shards.count();
        shards
            .clone()
            .try_for_each(|number| self.shards.make(number).map(drop))?;
        let _guards = self.write_areas_of(shards, &own)?;
        table.copy_root_entries(&self.table, own);
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

    /// The page table. Callers see to it that nothing is unmapped while they walk it.
    pub(crate) fn table(&self) -> &Table<M> {
        &self.table
    }

    /// The shards.
    #[cfg(test)]
    pub(crate) fn shards(&self) -> &Shards<M> {
        &self.shards
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
        let mut from = hint.as_usize().max(start);
        let mut number = self.shards.number_of(from);
        loop {
            // The first gap from here on, as if nothing were mapped behind this shard.
            if let Some(shard) = self.shards.get(number) {
                from =
                    self.read_areas(shard)?
                        .find_free(from, size, &(start..end), PAGE_SIZE_4K)?;
            }
            let last = from.checked_add(size - 1).filter(|last| *last < end)?;
            if last <= self.shards.bounds(number).1 {
                return Some(VirtAddr::from_usize(from));
            }
            number += 1;
        }
    }

    /// Returns an address in `limit` for a mapping of `size` bytes whose address does not
    /// matter: as [`find_free_area`](Self::find_free_area), but first in the arena of this
    /// hart, one of the shards that `limit` lies in. Harts that map and unmap in their own
    /// arenas do not meet at a lock, nor in page tables.
    pub fn find_free_arena(&self, size: usize, limit: VirtAddrRange) -> Option<VirtAddr> {
        let last = limit.end.as_usize().checked_sub(1)?;
        let first = self.shards.number_of(limit.start.as_usize());
        let arenas = self.shards.number_of(last).checked_sub(first)? + 1;
        let (start, end) = self.shards.bounds(first + M::hart() % arenas);
        let start = limit.start.max(VirtAddr::from_usize(start));
        let end = limit.end.min(VirtAddr::from_usize(end.saturating_add(1)));
        let arena = (start < end).then(|| VirtAddrRange::new(start, end));
        let found = arena.and_then(|arena| self.find_free_area(start, size, arena));
        found.or_else(|| self.find_free_area(limit.start, size, limit))
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
        if self.tlb_state.is_kernel() || !in_user_half {
            return false;
        }
        match axhal::paging::ONE_ROOT {
            true => self.sees_all_of(kernel()),
            false => !self.table.borrows(),
        }
    }

    /// Which harts may remember translations.
    pub fn tlb_state(&self) -> &TlbState {
        &self.tlb_state
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
            match self.part_at(VirtAddr::from_usize(reached)) {
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
    /// is cut. `ResourceBusy` as for [`unmap`](Self::unmap).
    pub fn clear(&self) -> AxResult {
        match self.unmap(self.base(), self.size()) {
            Err(AxError::NoMemory) => self.clear_shards(),
            cleared => cleared,
        }
    }

    /// Unmaps everything, shard after shard: that takes no memory.
    #[cold]
    fn clear_shards(&self) -> AxResult {
        (0..self.shards.count()).try_for_each(|number| {
            let part = clip(&self.span(), self.shards.bounds(number));
            self.unmap(part.start.into(), part.len())
        })
    }

    /// Everything that is mapped, in order: addresses, rights, name, and whether
    /// the frames are the mapping's own.
    pub fn areas(&self) -> impl Iterator<Item = Area<Backend>> {
        self.areas_from(VirtAddr::from_usize(0))
    }

    /// As [`areas`](Self::areas), from the one on that ends above `vaddr`. Each is as it is
    /// when it is returned.
    pub fn areas_from(&self, vaddr: VirtAddr) -> impl Iterator<Item = Area<Backend>> {
        let mut from = vaddr.as_usize();
        core::iter::from_fn(move || {
            let area = self.next_part(from)?;
            let area = self.joined(area);
            from = area.span().end;
            Some(area)
        })
    }

    /// What is mapped at `vaddr`.
    pub fn area_at(&self, vaddr: VirtAddr) -> Option<Area<Backend>> {
        self.part_at(vaddr).map(|part| self.joined(part))
    }

    /// The part in its shard of the area that `vaddr` lies in.
    fn part_at(&self, vaddr: VirtAddr) -> Option<Area<Backend>> {
        let shard = self.shards.at(vaddr.as_usize())?;
        match shard.shared_areas().peek(vaddr.as_usize()) {
            Some((area, _)) => Some(area),
            None => self.area_for_certain(vaddr),
        }
    }

    /// The part in its shard of the area that `vaddr` lies in, looked up with the index lock
    /// held: a lookup without it can miss an area while others are changed.
    #[cold]
    pub(crate) fn area_for_certain(&self, vaddr: VirtAddr) -> Option<Area<Backend>> {
        let number = self.shards.number_of(vaddr.as_usize());
        let areas = self.read_areas(self.shards.get(number)?)?;
        let area = areas.find(vaddr.as_usize())?;
        Some(area.area())
    }

    /// The part in its shard of the first area that ends above `from`.
    fn next_part(&self, from: usize) -> Option<Area<Backend>> {
        let mut shards = self.shards.made_from(self.shards.number_of(from));
        shards.find_map(|shard| {
            let areas = self.read_areas(shard)?;
            Some(areas.iter_from(from).next()?.area())
        })
    }

    /// The whole area of which `part` lies in one shard.
    #[inline(always)]
    fn joined(&self, part: Area<Backend>) -> Area<Backend> {
        match self.shards.count() {
            1 => part,
            _ => self.joined_across(part),
        }
    }

    #[inline(never)]
    fn joined_across(&self, mut area: Area<Backend>) -> Area<Backend> {
        let starts_shard = |addr| self.shards.bounds(self.shards.number_of(addr)).0 == addr;
        while starts_shard(area.span().end)
            && let Some(part) = self.area_for_certain(VirtAddr::from_usize(area.span().end))
            && area.continues(&part)
        {
            area = area.with_end(part.span().end);
        }
        while starts_shard(area.span().start)
            && let Some(before) = area.span().start.checked_sub(1)
            && let Some(part) = self.area_for_certain(VirtAddr::from_usize(before))
            && part.continues(&area)
        {
            area = part.with_end(area.span().end);
        }
        area
    }

    /// The page that `vaddr` lies in, if it has a frame.
    pub fn query(&self, vaddr: VirtAddr) -> Option<Page> {
        let _slot = self.fault_slot(vaddr).ok()?;
        self.table.query(vaddr)
    }

    /// Shows `see` at most `most` tables and runs of pages behind what has been `reached` in
    /// `pages`, up to `false`; nothing there is unmapped meanwhile. Returns whether there may
    /// be more.
    pub(crate) fn visit_some(
        &self,
        pages: &Span,
        reached: &mut VisitPosition,
        most: usize,
        see: &mut dyn FnMut(&Visited) -> bool,
    ) -> bool {
        let from = pages.start.max(reached.vaddr());
        if from >= pages.end {
            return false;
        }
        let number = self.shards.number_of(from);
        let bounds = self.shards.bounds(number);
        let part = clip(&(from..pages.end), bounds);
        if let Some(shard) = self.shards.get(number) {
            // Not in an interrupt handler that has interrupted an operation there.
            let mut guard = WriteGuard::new(self, shard, part.clone());
            if guard.begin().is_err() {
                return false;
            }
            if let Some(more) = self.table.visit_some(part, reached, most, see) {
                return more;
            }
        }
        match bounds.1.checked_add(1) {
            Some(next) if next < pages.end => {
                reached.skip_to(next);
                true
            }
            _ => false,
        }
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
        if (for_users && self.tlb_state.is_kernel())
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

/// Makes tables below the root that stay, for other address spaces.
struct Share;

impl<M: Machine> Operation<M> for Share {
    const MISSING: Missing = Missing::Make;

    fn prepare(&self, guard: &mut WriteGuard<'_, M>) -> AxResult {
        guard.lock_range();
        guard.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            let table = &unlocked.space().table;
            let result = table.populate_root(unlocked.span().clone(), &mut gather);
            gather.finish();
            result
        })
    }

    fn settle(&self, guard: &mut WriteGuard<'_, M>) {
        let space = guard.space();
        space.table.share_root(space.span(), space.fixed_end);
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

// SAFETY: the areas are `Sync`. The state of each hart in a range lock is used by that hart
// alone, or is atomic, and harts are told apart as `Machine` promises.
unsafe impl<M: Machine + Sync> Sync for AddrSpace<M> {}

// SAFETY: it belongs to no hart.
unsafe impl<M: Machine> Send for AddrSpace<M> {}

impl<M: Machine> Drop for AddrSpace<M> {
    /// Frees what the mappings own, then the page table.
    fn drop(&mut self) {
        debug_assert!(self.tlb_state.is_kernel() || !self.tlb_state.has_harts_inside());
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
