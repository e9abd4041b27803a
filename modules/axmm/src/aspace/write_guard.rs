//! Access to the areas of a shard: with the index lock alone, or with a range locked, too.
//!
//! ```text
//!   read_areas    ReadGuard    index lock held
//!   begin         WriteGuard   index lock held, and this hart's turn has come for the span
//!     lock_range                 the span is this operation's alone; faults there wait
//!     unlocked                   index lock free, interrupts as the caller has them:
//!                                work on the page table
//! ```
//!
//! From the moment that a range is locked or queued until the guard is dropped, no other
//! thread takes the hart, because other harts wait for it. Interrupts are out only while
//! the index lock is held.

use core::mem;
use core::ops::{Deref, Range};

use arrayvec::ArrayVec;
use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, VirtAddr};

use super::AddrSpace;
use crate::areas::{Area, Areas, Promise, Span};
use crate::backing::Backend;
use crate::locking::range_lock::{ALL, Bounds, RangeLock};
use crate::locking::shards::{MOST, Shard, clip};
use crate::machine::Machine;
use crate::page_table::frames::Table;
use crate::tlb::gather::TlbGather;

/// The most areas that an operation adds to a shard.
const MOST_ADDED: usize = 2;

/// Bytes of a span in which work on the page table is a bounded piece.
const SMALL: usize = 64 * PAGE_SIZE_4K;

/// Areas that are looked at, or changed, at a time before interrupts are let in.
pub const AT_A_TIME: usize = 64;

/// The areas of a shard, with the index lock held: they do not change.
pub struct ReadGuard<'a, M: Machine> {
    shard: &'a Shard<M>,
    /// Last, so that interrupts come in when the index lock is free.
    _pin: Option<M::IrqGuard>,
}

/// An operation on a span of one shard.
pub struct WriteGuard<'a, M: Machine> {
    space: &'a AddrSpace<M>,
    shard: &'a Shard<M>,
    span: Span,
    hart: usize,
    /// What has been locked of the shard.
    locked: Option<Bounds>,
    /// Whether the hart is in the queue.
    queued: bool,
    /// Room for areas, kept while the index lock is free.
    promise: Option<Promise>,
    /// Interrupts are out while the index lock is held.
    pin: Option<M::IrqGuard>,
    /// Last, so that another thread takes the hart when all is unlocked.
    stay: Option<M::PreemptGuard>,
}

/// An operation on a span of several shards, a guard for each.
pub type Guards<'a, M> = ArrayVec<WriteGuard<'a, M>, MOST>;

/// An operation with its range locked, and the index lock free.
pub struct Unlocked<'g, 'a, M: Machine>(&'g WriteGuard<'a, M>);

/// A part of an operation: a range lock, and what is wanted of it.
pub struct Part<'a, M> {
    pub lock: &'a RangeLock<M>,
    pub bounds: Bounds,
}

impl<M: Machine> AddrSpace<M> {
    /// The areas of a shard, to look at. `None` if this is a fault of the hart that holds
    /// the index lock.
    #[inline(always)]
    pub(crate) fn read_areas<'a>(&self, shard: &'a Shard<M>) -> Option<ReadGuard<'a, M>> {
        let mut pin = Some(M::disable_irqs());
        let (index, hart) = (shard.lock.index(), M::hart());
        if index.is_held_by(hart) {
            return None;
        }
        index.lock(hart, &mut pin);
        Some(ReadGuard { shard, _pin: pin })
    }

    /// As [`read_areas`](Self::read_areas), but `None` if any hart holds the index lock.
    pub(crate) fn try_read_areas<'a>(&self, shard: &'a Shard<M>) -> Option<ReadGuard<'a, M>> {
        let pin = Some(M::disable_irqs());
        let locked = shard.lock.index().try_lock(M::hart());
        locked.then(|| ReadGuard { shard, _pin: pin })
    }

    /// An operation that has [begun](WriteGuard::begin).
    #[cfg(test)]
    pub(crate) fn write_areas<'a>(
        &'a self,
        shard: &'a Shard<M>,
        span: &Span,
    ) -> AxResult<WriteGuard<'a, M>> {
        let mut guard = WriteGuard::new(self, shard, span.clone());
        guard.begin()?;
        Ok(guard)
    }

    /// Whether `hart` is in the middle of an operation. In such a case this is called by an
    /// interrupt handler, which must not wait in a queue: an operation ahead of it could be
    /// waiting for the interrupted one.
    #[cold]
    pub(crate) fn is_busy(&self, hart: usize) -> bool {
        self.shards
            .made_from(0)
            .any(|shard| shard.lock.is_busy(hart))
    }

    /// Begins an operation on the parts of `span` that lie in the shards with these
    /// `numbers`, as far as they have been made. Each part is locked then, and the index locks
    /// are free. The operation has the same place in the order of all their queues.
    ///
    /// # Errors
    ///
    /// As [`begin`](WriteGuard::begin).
    pub(crate) fn write_areas_of(
        &self,
        numbers: Range<usize>,
        span: &Span,
    ) -> AxResult<Guards<'_, M>> {
        let stay = M::disable_preemption();
        let mut pin = Some(M::disable_irqs());
        let hart = M::hart();
        let guard = |number| {
            let part = clip(span, self.shards.bounds(number));
            Some(WriteGuard::new(self, self.shards.get(number)?, part))
        };
        let mut guards: Guards<'_, M> = numbers.filter_map(guard).collect();
        for guard in &guards {
            guard.lock().index().lock_beside_others(hart);
        }
        let is_busy = self.is_busy(hart);
        if !is_busy {
            lock_ranges(&mut guards, hart, &mut pin);
        }
        for guard in &guards {
            guard.lock().index().unlock();
        }
        drop(pin);
        drop(stay);
        match is_busy {
            true => {
                // They have locked nothing.
                guards.drain(..).for_each(mem::forget);
                Err(AxError::ResourceBusy)
            }
            false => Ok(guards),
        }
    }
}

/// Locks the ranges of all guards when it is their turn, with the large pages at their ends.
/// The index locks of all are held, before and after.
fn lock_ranges<M: Machine>(guards: &mut Guards<'_, M>, hart: usize, pin: &mut Option<M::IrqGuard>) {
    loop {
        let parts = guards.iter().map(WriteGuard::with_large_pages_part);
        let parts: ArrayVec<_, MOST> = parts.collect();
        wait_for_turns::<M>(&parts, hart, pin);
        for part in &parts {
            part.lock.lock(hart, part.bounds);
        }
        // Until a range is locked, a fault may bring a large page across its ends. Where one
        // has, the operation keeps its place in the queues.
        let mut both = guards.iter().zip(&parts);
        if both.all(|(guard, part)| guard.with_large_pages() == part.bounds) {
            for (guard, part) in guards.iter_mut().zip(&parts) {
                part.lock.dequeue(hart);
                part.lock.count_turn(hart, part.bounds);
                guard.locked = Some(part.bounds);
                guard.stay = Some(M::disable_preemption());
            }
            return;
        }
        for part in &parts {
            part.lock.unlock(hart);
        }
    }
}

/// Waits until it is the turn of `hart` for each part. The index locks of all are held,
/// before and after, and free in between, with interrupts as they were before `pin`.
pub(crate) fn wait_for_turns<M: Machine>(
    parts: &[Part<M>],
    hart: usize,
    pin: &mut Option<M::IrqGuard>,
) {
    let is_turn = |part: &Part<M>| part.lock.is_turn(hart, part.bounds);
    while !parts.iter().all(is_turn) {
        for part in parts {
            part.lock.enqueue(hart, part.bounds);
        }
        for part in parts {
            part.lock.index().unlock();
        }
        *pin = None;
        let mut turn = 0;
        while !parts.iter().all(is_turn) {
            M::relax(turn);
            turn += 1;
        }
        *pin = Some(M::disable_irqs());
        for part in parts {
            part.lock.index().lock_beside_others(hart);
        }
    }
}

impl<M: Machine> RangeLock<M> {
    /// Waits, with interrupts as they are, until it is the turn of `hart` for `bounds`.
    /// Returns with the index lock held, interrupts out, and `hart` in no queue.
    pub(crate) fn lock_index_in_turn(&self, hart: usize, bounds: Bounds) -> M::IrqGuard {
        let mut pin = Some(M::disable_irqs());
        self.index().lock(hart, &mut pin);
        let part = Part { lock: self, bounds };
        wait_for_turns::<M>(core::slice::from_ref(&part), hart, &mut pin);
        self.count_turn(hart, bounds);
        self.dequeue(hart);
        pin.unwrap_or_else(M::disable_irqs)
    }
}

impl<'a, M: Machine> WriteGuard<'a, M> {
    /// An operation on `span`, which lies in `shard`, that has yet to [begin](Self::begin).
    #[inline(always)]
    pub fn new(space: &'a AddrSpace<M>, shard: &'a Shard<M>, span: Span) -> Self {
        Self {
            space,
            shard,
            span,
            hart: M::hart(),
            locked: None,
            queued: false,
            promise: None,
            pin: None,
            stay: None,
        }
    }

    /// Begins the operation when no other has locked any of the span, and none that asked
    /// earlier waits for any. Page faults go on. The index lock is held then.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if this hart is in the middle of an operation, which an interrupt
    /// handler has interrupted, and any range of the shard is locked or queued.
    #[inline(always)]
    pub fn begin(&mut self) -> AxResult {
        self.pin = Some(M::disable_irqs());
        let lock = self.lock();
        lock.index().lock(self.hart, &mut self.pin);
        match lock.is_idle() {
            true => Ok(()),
            false => self.wait_for_turn(bounds(&self.span)),
        }
    }

    #[inline(always)]
    fn lock(&self) -> &'a RangeLock<M> {
        &self.shard.lock
    }

    /// The address space.
    #[inline(always)]
    pub fn space(&self) -> &'a AddrSpace<M> {
        self.space
    }

    /// What the operation changes.
    #[inline(always)]
    pub fn span(&self) -> &Span {
        &self.span
    }

    #[cold]
    fn wait_for_turn(&mut self, bounds: Bounds) -> AxResult {
        if self.space.is_busy(self.hart) {
            return Err(AxError::ResourceBusy);
        }
        self.wait_in_queue(bounds);
        self.lock().count_turn(self.hart, bounds);
        Ok(())
    }

    #[cold]
    fn wait_in_queue(&mut self, bounds: Bounds) {
        self.stay.get_or_insert_with(M::disable_preemption);
        let lock = self.lock();
        self.queued = true;
        wait_for_turns(&[Part { lock, bounds }], self.hart, &mut self.pin);
    }

    /// Locks the span, until this guard is dropped: page faults there wait. Where an end of
    /// the span lies in a large page, all of the page is locked.
    ///
    /// On one hart a lock keeps out only the faults of interrupt handlers: the span is locked
    /// when interrupts are let in.
    #[inline(always)]
    pub fn lock_range(&mut self) {
        if !self.lock().is_one_hart() {
            self.lock_pages(|_, pages| pages);
        }
    }

    /// As [`lock_range`](Self::lock_range), together with the free addresses around that
    /// share page tables with the span, so that tables which become empty can be freed.
    #[inline(always)]
    pub fn lock_range_and_tables(&mut self) {
        if !self.lock().is_one_hart() {
            self.lock_pages(Self::with_tables);
        }
    }

    /// Locks what `wider` makes of the span and the large pages at its ends. Until the range
    /// is locked, a fault may bring such a page.
    #[cold]
    fn lock_pages(&mut self, wider: impl Fn(&Self, Bounds) -> Bounds) {
        let lock = self.lock();
        loop {
            let pages = self.with_large_pages();
            if self.locked.is_none() && !lock.is_turn(self.hart, pages) {
                self.wait_in_queue(pages);
                continue;
            }
            let bounds = wider(self, pages);
            lock.lock(self.hart, bounds);
            if self.with_large_pages() == pages {
                self.locked = Some(bounds);
                break;
            }
            lock.unlock(self.hart);
            self.locked = None;
        }
        if mem::take(&mut self.queued) {
            lock.dequeue(self.hart);
        }
    }

    fn with_large_pages_part(&self) -> Part<'a, M> {
        Part {
            lock: self.lock(),
            bounds: self.with_large_pages(),
        }
    }

    /// The span together with the large pages at its ends.
    fn with_large_pages(&self) -> Bounds {
        let (mut first, mut last) = bounds(&self.span);
        for end in [first, last] {
            if let Some(page) = self.space.table.query(VirtAddr::from_usize(end)) {
                first = first.min(page.vaddr.as_usize());
                last = last.max(page.vaddr.as_usize() + (page.size - 1));
            }
        }
        (first, last)
    }

    /// `pages` together with the free addresses around the span that share tables with it.
    fn with_tables(&self, pages: Bounds) -> Bounds {
        let room = self.room_around(&self.span);
        let shards = &self.space.shards;
        let (lowest, highest) = shards.bounds(shards.number_of(self.span.start));
        let room = (room.0.max(lowest), room.1.min(highest));
        let (mut first, mut last) = pages;
        for level in 1..Table::<M>::LEVELS {
            let size = Table::<M>::entry_size(level);
            let (low, high) = (first & !(size - 1), last | (size - 1));
            let is_free = |bounds| self.lock().is_free(self.hart, bounds);
            if low >= room.0 && is_free((low, first)) {
                first = low;
            }
            if high <= room.1 && is_free((last, high)) {
                last = high;
            }
        }
        (first, last)
    }

    /// Frees the tables on the way to the ends of the span that have become empty, now that
    /// the span is free. A table that another operation works below stays: whichever of the
    /// two ends last frees it.
    #[inline(always)]
    pub fn free_tables(&mut self) {
        if !self.lock().is_one_hart() {
            while let Some((end, bounds)) = self.empty_table() {
                self.free_tables_at(end, bounds);
            }
        }
    }

    /// A table that is empty, by an end of the span that it lies on the way to, and what is
    /// to be locked so that it may be freed. The span is locked: no other operation frees a
    /// table on the way to it.
    #[inline(never)]
    fn empty_table(&self) -> Option<(VirtAddr, Bounds)> {
        let (first, last) = bounds(&self.span);
        let table = &self.space.table;
        for level in 1..Table::<M>::LEVELS {
            for end in [first, last].map(VirtAddr::from_usize) {
                let Some((low, high)) = table.empty_table_at(end, level) else {
                    continue;
                };
                let bounds = (low.min(first), high.max(last));
                if self.lock().is_free(self.hart, bounds) {
                    return Some((end, bounds));
                }
            }
        }
        None
    }

    #[cold]
    fn free_tables_at(&mut self, end: VirtAddr, bounds: Bounds) {
        self.lock().lock(self.hart, bounds);
        self.locked = Some(bounds);
        self.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            unlocked.space().table.free_empty_tables(end, &mut gather);
            gather.finish();
        });
    }

    /// Does `work` on the page table of the locked range with the index lock free, and
    /// interrupts as the caller of the operation has them. After it, as many areas as an
    /// operation adds can be added.
    ///
    /// The index lock stays held where there is no memory to keep room for them, and on one
    /// hart where the span is so small that `work` is a bounded piece.
    #[inline(always)]
    pub fn unlocked<R>(&mut self, work: impl FnOnce(&Unlocked<'_, 'a, M>) -> R) -> R {
        if self.lock().is_one_hart() && self.span.len() <= SMALL {
            return work(&Unlocked(self));
        }
        let unlocked = self.unlock_index();
        let result = work(&Unlocked(self));
        if unlocked.is_ok() {
            self.lock_index();
        }
        result
    }

    /// Splits the large pages across the ends of the span. The range is locked.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    #[inline(always)]
    pub fn split_edges(&mut self) -> AxResult {
        match self.space.table.has_split_edges(&self.span) {
            true => Ok(()),
            false => self.split(|table, span, gather| table.split_edges(span, gather)),
        }
    }

    /// Splits all large pages of the span. The range is locked.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    #[cold]
    pub fn split_all(&mut self) -> AxResult {
        self.split(|table, span, gather| {
            table.split_edges(span, gather)?;
            table.split_all(span, gather)
        })
    }

    #[cold]
    fn split(
        &mut self,
        split: impl FnOnce(&Table<M>, &Span, &mut TlbGather<'_, M>) -> AxResult,
    ) -> AxResult {
        self.unlocked(|unlocked| {
            let mut gather = unlocked.gather();
            let result = split(&unlocked.space().table, unlocked.span(), &mut gather);
            gather.finish();
            result
        })
    }

    /// Frees the index lock, and keeps room for as many areas as an operation adds.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then the lock is still held.
    #[inline(always)]
    pub fn unlock_index(&mut self) -> AxResult {
        match self.lock().is_one_hart() {
            // No other operation can use the room up.
            true if self.locked.is_some() => {}
            true => {
                let bounds = bounds(&self.span);
                self.lock().lock(self.hart, bounds);
                self.locked = Some(bounds);
            }
            false => self.promise = Some(self.promise(MOST_ADDED)?),
        }
        self.stay.get_or_insert_with(M::disable_preemption);
        self.lock().index().unlock();
        self.pin = None;
        Ok(())
    }

    /// Takes the index lock again.
    #[inline(always)]
    pub fn lock_index(&mut self) {
        self.pin = Some(M::disable_irqs());
        self.lock().index().lock(self.hart, &mut self.pin);
        if let Some(promise) = self.promise.take() {
            self.keep(promise);
        }
    }

    /// Calls `see` for the areas that overlap the span, in order, up to `false`; between
    /// pieces interrupts are let in. The range is locked. Returns whether all have been seen.
    pub fn all_areas(&mut self, mut see: impl FnMut(&Area<Backend>) -> bool) -> bool {
        let (mut from, end) = (self.span.start, self.span.end);
        loop {
            let mut seen = 0;
            for area in self.overlapping(&(from..end)).take(AT_A_TIME) {
                if !see(&area.area()) {
                    return false;
                }
                from = area.end();
                seen += 1;
            }
            if seen < AT_A_TIME || from >= end {
                return true;
            }
            self.unlocked(|_| {});
        }
    }

    /// Takes the span out of the areas, a piece at a time. Room for cuts is reserved.
    #[inline(always)]
    pub fn remove_areas(&mut self) {
        let span = self.span.clone();
        self.remove_areas_in(&span);
    }

    /// As [`remove_areas`](Self::remove_areas), for a part of the span.
    #[inline(always)]
    pub fn remove_areas_in(&mut self, span: &Span) {
        while !self.remove(span, AT_A_TIME) {
            self.unlocked(|_| {});
        }
    }

    fn alone(&self) -> Bounds {
        match self.lock().is_one_hart() {
            true => ALL,
            // No address, without a locked range.
            false => self.locked.unwrap_or((1, 0)),
        }
    }
}

impl<'g, 'a, M: Machine> Unlocked<'g, 'a, M> {
    /// The caller has [freed](WriteGuard::unlock_index) the guard's index lock.
    pub fn new(guard: &'g WriteGuard<'a, M>) -> Self {
        Self(guard)
    }

    /// What the operation changes.
    pub fn span(&self) -> &Span {
        &self.0.span
    }

    /// The address space.
    pub fn space(&self) -> &'a AddrSpace<M> {
        self.0.space
    }

    /// Where tables that become empty may be freed.
    pub fn alone(&self) -> Bounds {
        self.0.alone()
    }

    /// The first area that ends above `addr`.
    pub fn area_from(&self, addr: usize) -> Option<Area<Backend>> {
        let first = |areas: &Areas<Backend>| Some(areas.iter_from(addr).next()?.area());
        match self.0.pin {
            // There was no memory to free the index lock.
            Some(_) => first(self.0),
            None => first(&*self.0.space.read_areas(self.0.shard)?),
        }
    }

    /// Collects what the operation takes away.
    pub fn gather(&self) -> TlbGather<'a, M> {
        let mut gather = TlbGather::new(&self.0.space.tlb_state);
        gather.set_exclusive(self.0.alone());
        gather
    }
}

impl<M: Machine> Deref for WriteGuard<'_, M> {
    type Target = Areas<Backend>;

    #[inline(always)]
    fn deref(&self) -> &Areas<Backend> {
        debug_assert!(self.lock().index().is_held_by(self.hart));
        // SAFETY: this hart holds the index lock: `begin` and `lock_index` take it.
        // `unlock_index` needs `&mut self`, so no reference from before outlives it, and its
        // callers take the lock again before they look at areas.
        unsafe { self.shard.areas() }
    }
}

impl<M: Machine> Drop for WriteGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.pin.is_none() {
            self.lock_index();
        }
        let lock = self.lock();
        if self.locked.is_some() {
            lock.unlock(self.hart);
        }
        if self.queued {
            lock.dequeue(self.hart);
        }
        lock.index().unlock();
    }
}

impl<M: Machine> Deref for ReadGuard<'_, M> {
    type Target = Areas<Backend>;

    #[inline(always)]
    fn deref(&self) -> &Areas<Backend> {
        // SAFETY: this hart holds the index lock until the guard is dropped.
        unsafe { self.shard.areas() }
    }
}

impl<M: Machine> Drop for ReadGuard<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.shard.lock.index().unlock();
    }
}

fn bounds(span: &Span) -> Bounds {
    (span.start, span.end - 1)
}
