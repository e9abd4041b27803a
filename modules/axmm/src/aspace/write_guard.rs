//! A range of one shard, on which an operation works.
//!
//! ```text
//!   begin          index lock held, and this hart's turn has come for the range
//!   lock_range     the range is locked: page faults and other operations there wait
//!   unlocked       index lock free, interrupts as the caller has them: work on the page table
//!   drop           range and index lock free
//! ```
//!
//! Interrupts are out only while the index lock is held. From the moment that a range is locked
//! or queued until the guard is dropped, no other thread takes the hart, because other harts wait
//! for this operation.
//!
//! While the index lock is held, the guard dereferences to the areas of the shard. Methods such as
//! `reserve`, `insert`, `remove` and `set_flags` are those of [`MemorySet`], which change the areas
//! through a shared reference.

use core::mem;
use core::ops::{Deref, Range};

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, VirtAddr, VirtAddrRange};
use memory_set::{MemoryArea, MemorySet, Reservation};

use super::space::AddrSpace;
use crate::addr::{as_span, va_range};
use crate::backing::Backend;
use crate::locking::range_lock::RangeLock;
use crate::locking::shards::Shard;
use crate::locking::turn::{Request, wait_for_turn};
use crate::machine::{ALL_ADDRESSES, Machine};
use crate::tlb::gather::TlbGather;

/// The most areas that an operation adds to a shard.
const MAX_ADDED: usize = 2;

/// The largest range, in bytes, that one hart works on with interrupts out.
const MAX_UNINTERRUPTED: usize = 64 * PAGE_SIZE_4K;

/// Areas that are looked at, or changed, before interrupts are let in.
pub const AREAS_PER_STEP: usize = 64;

/// An operation on a range of one shard.
pub struct WriteGuard<'a, M: Machine> {
    space: &'a AddrSpace<M>,
    shard: &'a Shard<M>,
    /// The addresses that the operation changes.
    range: VirtAddrRange,
    /// The hart that performs the operation. A thread stays on one hart, so this stays right.
    hart: usize,
    /// What is locked: `range`, and addresses around it that must not change meanwhile.
    locked: Option<VirtAddrRange>,
    /// Whether the hart may be in the queue, so that it must be removed.
    queued: bool,
    /// Room for the areas that the operation adds, reserved while the index lock is free.
    reserved: Option<Reservation>,
    /// Keeps interrupts out while the index lock is held.
    irqs_off: Option<M::IrqGuard>,
    /// Dropped last, because another thread may take the hart only when everything is unlocked.
    no_preempt: Option<M::PreemptGuard>,
}

/// An operation that works on the page table of its locked range. The index lock is free, but for
/// the exceptions of [`WriteGuard::unlocked`].
pub struct Unlocked<'g, 'a, M: Machine>(&'g WriteGuard<'a, M>);

impl<M: Machine> AddrSpace<M> {
    /// Returns whether `hart` is in the middle of an operation. Then its caller is an interrupt
    /// handler, which must not wait in a queue: the operation ahead of it could be waiting for
    /// the interrupted one.
    #[cold]
    pub(super) fn is_busy(&self, hart: usize) -> bool {
        self.shards
            .made_from(0)
            .any(|shard| shard.lock.is_busy(hart))
    }
}

impl<'a, M: Machine> WriteGuard<'a, M> {
    /// An operation on `range`, which lies in `shard`, that has yet to [begin](Self::begin).
    #[inline(always)]
    pub fn new(space: &'a AddrSpace<M>, shard: &'a Shard<M>, range: VirtAddrRange) -> Self {
        Self {
            space,
            shard,
            range,
            hart: M::hart(),
            locked: None,
            queued: false,
            reserved: None,
            irqs_off: None,
            no_preempt: None,
        }
    }

    /// An operation that has [begun](Self::begin).
    ///
    /// # Errors
    ///
    /// Those of [`begin`](Self::begin).
    #[cfg(test)]
    pub fn begun(
        space: &'a AddrSpace<M>,
        shard: &'a Shard<M>,
        range: VirtAddrRange,
    ) -> AxResult<Self> {
        let mut guard = Self::new(space, shard, range);
        guard.begin()?;
        Ok(guard)
    }

    /// Begins the operation: waits for operations that have locked some of the range, and for
    /// those that asked earlier and are queued for some of it. Page faults go on. The index lock
    /// is held when this returns.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` in an interrupt handler that has interrupted an operation of this hart, or a
    /// page fault that is queued, if any range of the shard is locked or queued.
    #[inline(always)]
    pub fn begin(&mut self) -> AxResult {
        self.irqs_off = Some(M::disable_irqs());
        let lock = self.range_lock();
        lock.index().lock(self.hart, &mut self.irqs_off);
        match lock.is_idle() {
            true => Ok(()),
            false => self.begin_in_turn(),
        }
    }

    /// The range lock of the shard, which contains its index lock.
    #[inline(always)]
    pub fn range_lock(&self) -> &'a RangeLock<M> {
        &self.shard.lock
    }

    /// The address space.
    #[inline(always)]
    pub fn space(&self) -> &'a AddrSpace<M> {
        self.space
    }

    /// The addresses that the operation changes.
    #[inline(always)]
    pub fn range(&self) -> VirtAddrRange {
        self.range
    }

    /// The hart that performs the operation.
    #[inline(always)]
    pub fn hart(&self) -> usize {
        self.hart
    }

    #[cold]
    fn begin_in_turn(&mut self) -> AxResult {
        if self.space.is_busy(self.hart) {
            return Err(AxError::ResourceBusy);
        }
        self.await_turn(self.range);
        self.range_lock().count_turn(self.hart, self.range);
        Ok(())
    }

    /// Waits until it is this hart's turn for `range`. A hart that has waited stays in the queue
    /// until its range is locked, so that no other operation gets ahead of it.
    #[cold]
    fn await_turn(&mut self, range: VirtAddrRange) {
        self.no_preempt.get_or_insert_with(M::disable_preemption);
        let lock = self.range_lock();
        self.queued = true;
        wait_for_turn(&[Request { lock, range }], self.hart, &mut self.irqs_off);
    }

    /// Begins the operation and locks its range, as [`begin`](Self::begin) and
    /// [`lock_range`](Self::lock_range) do, unless it would have to wait for another operation. So
    /// the caller may have locked ranges of other shards. Returns whether the range is locked. The
    /// index lock is held in any case.
    #[cfg(feature = "objects")]
    pub fn try_begin(&mut self) -> bool {
        self.irqs_off = Some(M::disable_irqs());
        let lock = self.range_lock();
        lock.index().lock(self.hart, &mut self.irqs_off);
        !lock.is_busy(self.hart)
            && lock.is_turn(self.hart, self.range)
            && (lock.is_one_hart() || self.lock_pages(false, |_, pages| pages))
    }

    /// Locks the range until the guard is dropped. If a large page, or what a shared table translates,
    /// lies across an end of the range, all of it is locked.
    ///
    /// On one hart a lock keeps out only the faults of interrupt handlers. There this does
    /// nothing, and [`unlock_index`](Self::unlock_index) locks the range before it lets
    /// interrupts in.
    #[inline(always)]
    pub fn lock_range(&mut self) {
        if !self.range_lock().is_one_hart() {
            self.lock_pages(true, |_, pages| pages);
        }
    }

    /// Locks the range as [`lock_range`](Self::lock_range) does, together with the free
    /// addresses around it that share page tables with it. So tables that become empty can be
    /// freed with the pages.
    #[inline(always)]
    pub fn lock_range_and_tables(&mut self) {
        if !self.range_lock().is_one_hart() {
            self.lock_pages(true, Self::with_tables);
        }
    }

    /// Locks what `widen` returns for the range together with the large pages, and the addresses of
    /// shared tables, across its ends. Until that is locked, a fault may map another large page across
    /// an end. So they are looked up again afterwards. If they differ, all is done again for the new ones.
    ///
    /// Returns whether the pages are locked. If the operation `may_wait`, they always are.
    #[cold]
    fn lock_pages(
        &mut self,
        may_wait: bool,
        widen: impl Fn(&Self, VirtAddrRange) -> VirtAddrRange,
    ) -> bool {
        let lock = self.range_lock();
        loop {
            let pages = self.with_large_pages();
            // An operation over several shards comes with its pages locked, in its turn.
            if self.locked.is_none() && !lock.is_turn(self.hart, pages) {
                if !may_wait {
                    return false;
                }
                self.await_turn(pages);
                continue;
            }
            let locked = widen(self, pages);
            lock.lock(self.hart, locked);
            if self.with_large_pages() == pages {
                self.locked = Some(locked);
                break;
            }
            lock.unlock(self.hart);
            self.locked = None;
        }
        if mem::take(&mut self.queued) {
            lock.dequeue(self.hart);
        }
        true
    }

    /// Returns the range together with what lies across its ends and must change as a whole: large
    /// pages, and what the highest shared tables translate. Walks the page table, so the caller holds the index lock, and no other operation has locked the ends of the range.
    pub fn with_large_pages(&self) -> VirtAddrRange {
        let (mut start, mut end) = (self.range.start.as_usize(), self.range.end.as_usize());
        for addr in [start, end - 1] {
            if let Some(block) = self.space.table.unsplit_block(addr) {
                start = start.min(block.start);
                end = end.max(block.end);
            }
        }
        va_range(start, end)
    }

    /// Notes that `range` is locked, which contains the range of the operation.
    pub fn set_locked(&mut self, range: VirtAddrRange) {
        self.locked = Some(range);
        self.no_preempt.get_or_insert_with(M::disable_preemption);
    }

    /// Does `work` on the page table of the locked range with the index lock free, and
    /// interrupts as the caller of the operation has them. When this returns, the index lock is
    /// held again, and there is still room for as many areas as an operation adds.
    ///
    /// The index lock stays held if there is no memory to reserve that room, and on one hart if
    /// the range has at most [`MAX_UNINTERRUPTED`] bytes.
    #[inline(always)]
    pub fn unlocked<R>(&mut self, work: impl FnOnce(&Unlocked<'_, 'a, M>) -> R) -> R {
        if self.range_lock().is_one_hart() && self.range.size() <= MAX_UNINTERRUPTED {
            return work(&Unlocked(self));
        }
        let unlocked = self.unlock_index();
        let result = work(&Unlocked(self));
        if unlocked.is_ok() {
            self.lock_index();
        }
        result
    }

    /// Splits the large pages across the ends of the range, which is locked.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    #[inline(always)]
    pub fn split_edges(&mut self, range: VirtAddrRange) -> AxResult {
        let pages = as_span(range);
        match self.space.table.has_split_edges(&pages) {
            true => Ok(()),
            false => {
                self.split(|unlocked, gather| unlocked.space().table.split_edges(&pages, gather))
            }
        }
    }

    /// Opens all shared page tables that translate a part of the range, which is locked.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then no page has changed.
    pub fn open_all(&mut self) -> AxResult {
        if self.space.tlb_state.is_kernel() {
            return Ok(());
        }
        self.unlocked(|unlocked| {
            let range = as_span(unlocked.range());
            unlocked.space().table.open_all(&range, &M::poll)
        })
    }

    /// Splits all large pages of the range, which is locked.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    #[cold]
    pub fn split_all(&mut self) -> AxResult {
        self.split(|unlocked, gather| {
            let (table, range) = (&unlocked.space().table, as_span(unlocked.range()));
            table.split_edges(&range, gather)?;
            table.split_all(&range, gather)
        })
    }

    #[cold]
    fn split(
        &mut self,
        split: impl FnOnce(&Unlocked<'_, 'a, M>, &mut TlbGather<'_, M>) -> AxResult,
    ) -> AxResult {
        self.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            let result = split(unlocked, &mut gather);
            gather.finish();
            result
        })
    }

    /// Unlocks the index lock. Meanwhile, room for as many areas as an operation adds is kept. On
    /// several harts the room is reserved. On one hart only an operation of an interrupt handler
    /// could use it up, and these operations fail because the range is locked.
    ///
    /// # Errors
    ///
    /// `NoMemory` if the room cannot be reserved. Then the lock is still held.
    #[inline(always)]
    pub fn unlock_index(&mut self) -> AxResult {
        if !self.range_lock().is_one_hart() {
            self.reserved = Some(self.reserve_ahead(MAX_ADDED)?);
        }
        self.unlock_index_without_room();
        Ok(())
    }

    /// Unlocks the index lock for an operation that adds no areas.
    ///
    /// On one hart, large pages across the ends of the range are not locked with it. A split keeps
    /// interrupts out while the entry of such a page is empty, so no handler faults there.
    #[inline(always)]
    pub fn unlock_index_without_room(&mut self) {
        if self.range_lock().is_one_hart() && self.locked.is_none() {
            self.range_lock().lock(self.hart, self.range);
            self.locked = Some(self.range);
        }
        self.no_preempt.get_or_insert_with(M::disable_preemption);
        self.range_lock().index().unlock();
        self.irqs_off = None;
    }

    /// Returns whether the index lock is held: the guard keeps interrupts out exactly then.
    #[inline(always)]
    fn holds_index(&self) -> bool {
        self.irqs_off.is_some()
    }

    /// Takes the index lock again.
    #[inline(always)]
    pub fn lock_index(&mut self) {
        self.irqs_off = Some(M::disable_irqs());
        self.range_lock()
            .index()
            .lock(self.hart, &mut self.irqs_off);
        if let Some(reserved) = self.reserved.take() {
            self.redeem(reserved);
        }
    }

    /// Calls `see` for the areas that overlap the range, in order, up to the first for which it
    /// returns `false`. Interrupts are let in every [`AREAS_PER_STEP`] areas. The range is
    /// locked. Returns whether `see` returned `true` for all of them.
    pub fn all_areas(&mut self, mut see: impl FnMut(&MemoryArea<Backend>) -> bool) -> bool {
        let mut rest = self.range;
        loop {
            let mut seen = 0;
            for area in self.overlapping(rest).take(AREAS_PER_STEP) {
                if !see(&area.area()) {
                    return false;
                }
                rest.start = area.end();
                seen += 1;
            }
            if seen < AREAS_PER_STEP || rest.is_empty() {
                return true;
            }
            self.unlocked(|_| {});
        }
    }

    /// Removes `range`, a part of the operation's range, from the areas. Interrupts are let in
    /// every [`AREAS_PER_STEP`] areas. Room for areas that are cut has been reserved.
    #[inline(always)]
    pub fn remove_areas(&mut self, range: VirtAddrRange) {
        while !self.remove(range, AREAS_PER_STEP) {
            self.unlocked(|_| {});
        }
    }
}

impl<'g, 'a, M: Machine> Unlocked<'g, 'a, M> {
    /// The caller has [unlocked](WriteGuard::unlock_index) the index lock of the guard.
    pub fn new(guard: &'g WriteGuard<'a, M>) -> Self {
        Self(guard)
    }

    /// The addresses that the operation changes.
    pub fn range(&self) -> VirtAddrRange {
        self.0.range
    }

    /// The address space.
    pub fn space(&self) -> &'a AddrSpace<M> {
        self.0.space
    }

    /// The addresses that no other operation works on, so that page tables there may be freed:
    /// all addresses on one hart, otherwise what is locked.
    pub fn exclusive(&self) -> Range<usize> {
        match (self.0.range_lock().is_one_hart(), self.0.locked) {
            (true, _) => ALL_ADDRESSES,
            (false, Some(locked)) => as_span(locked),
            // Without a locked range no table may be freed, so the range is empty. It does not
            // end at 0, because `TlbGather::set_exclusive` stores the address before the end.
            (false, None) => 1..1,
        }
    }

    /// Returns the first area that ends above `addr`.
    pub fn area_from(&self, addr: VirtAddr) -> Option<MemoryArea<Backend>> {
        let first = |areas: &MemorySet<Backend>| Some(areas.areas_from(addr).next()?.area());
        match self.0.holds_index() {
            true => first(self.0),
            false => first(&*self.0.space.read_areas(self.0.shard)?),
        }
    }

    /// Calls `f` for the areas that overlap the range, in order.
    ///
    /// # Errors
    ///
    /// The first error of `f`, which is not called any more then.
    pub fn for_each_area<E>(
        &self,
        mut f: impl FnMut(&MemoryArea<Backend>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = self.range().start;
        while let Some(area) = self.area_from(from)
            && area.start() < self.range().end
        {
            f(&area)?;
            from = area.end();
        }
        Ok(())
    }

    /// Makes a list for what the operation unmaps.
    pub fn gather(&self) -> TlbGather<'a, M> {
        let mut gather = TlbGather::new(&self.0.space.tlb_state);
        gather.set_exclusive(self.exclusive());
        gather
    }
}

impl<M: Machine> Deref for WriteGuard<'_, M> {
    type Target = MemorySet<Backend>;

    #[inline(always)]
    fn deref(&self) -> &MemorySet<Backend> {
        debug_assert!(self.range_lock().index().is_held_by(self.hart));
        // SAFETY: this hart holds the index lock: `begin` and `lock_index` take it.
        // `unlock_index` needs `&mut self`, so no reference outlives it, and its callers take
        // the lock again before they look at areas.
        unsafe { self.shard.areas() }
    }
}

impl<M: Machine> Drop for WriteGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.holds_index() {
            self.lock_index();
        }
        let lock = self.range_lock();
        if self.locked.is_some() {
            lock.unlock(self.hart);
        }
        if self.queued {
            lock.dequeue(self.hart);
        }
        lock.index().unlock();
    }
}
