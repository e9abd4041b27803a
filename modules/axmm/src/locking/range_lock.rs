//! The range lock of a shard: exclusive ranges of addresses, a queue for them, and one
//! fault slot for each hart.
//!
//! ```text
//!                 hart 0          hart 1            hart 2          hart 3
//!   fault slot    block 7         –                 block 9         –
//!   locked        –               20..24            –               –
//!   queued        –               –                 –               22..30, ticket 5
//! ```
//!
//! A page fault writes the 2 MiB block of its address into its hart's slot, then looks at
//! the locked ranges. An operation locks its range, then looks at the slots. Both are
//! sequentially consistent, so at least one of the two sees the other: the fault gives way,
//! and the operation waits until earlier faults in its range have finished.
//!
//! Ranges are locked and queued with the index lock held. A hart may lock a range when no
//! locked range overlaps it, and no queued one with a lower ticket.

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use axerrno::AxResult;

use super::index_lock::IndexLock;
use super::overtakes::Overtakes;
use crate::areas::{Area, Sight};
use crate::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::backing::Backend;
use crate::boxed::boxed_slice;
use crate::machine::Machine;

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

/// log2 of the bytes that one table of the lowest level translates.
const BLOCK_BITS: u32 = 21;

/// Addresses, from the first to the last.
pub type Bounds = (usize, usize);

/// All addresses.
pub const ALL: Bounds = (0, usize::MAX);

/// What one hart does in the shard. A page fault uses the first words, in this order.
#[repr(C, align(64))]
pub struct HartState {
    /// The fault slot: the number of the block that a page is faulted into, plus one; 0 if
    /// it is empty.
    faulting: AtomicUsize,
    /// The range that the hart has locked, or waits to lock.
    first: AtomicUsize,
    last: AtomicUsize,
    /// Only used by the fault that holds the slot.
    cache: UnsafeCell<AreaCache>,
    /// Its place in the queue, while it waits.
    ticket: AtomicUsize,
    /// How often it is overtaken meanwhile.
    overtakes: Overtakes,
}

/// The area that a hart faulted a page into last. As long as its leaf is unchanged, the
/// next fault there reads no word that another hart writes.
pub struct AreaCache {
    /// The area.
    pub area: Option<Area<Backend>>,
    /// The leaf that it was read from.
    pub sight: Sight<Backend>,
}

impl HartState {
    /// The state of every hart of the machine but the first.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    #[inline(always)]
    pub fn of_others<M: Machine>() -> AxResult<Box<[Self]>> {
        match M::harts() {
            ..=1 => Ok(Box::default()),
            harts => boxed_slice((1..harts).map(|_| Self::idle())),
        }
    }

    #[inline(always)]
    fn idle() -> Self {
        Self {
            faulting: AtomicUsize::new(0),
            first: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
            cache: UnsafeCell::new(AreaCache {
                area: None,
                sight: Sight::NOWHERE,
            }),
            ticket: AtomicUsize::new(0),
            overtakes: Overtakes::new(),
        }
    }

    fn overlaps(&self, (first, last): Bounds) -> bool {
        // Acquire pairs with the release in `set_range`: a hart that sees a range which has
        // taken the place of an earlier one sees what was done under the earlier one.
        self.first.load(Ordering::Acquire) <= last && first <= self.last.load(Ordering::Acquire)
    }

    fn set_range(&self, (first, last): Bounds) {
        self.first.store(first, Ordering::Release);
        self.last.store(last, Ordering::Release);
    }
}

/// The range lock, its queue, and the index lock that guards both.
pub struct RangeLock<M> {
    /// One bit for each hart that has locked a range.
    locked: AtomicU64,
    /// One bit for each hart in the queue. Written with the index lock held.
    queued: AtomicU64,
    /// The next ticket. Written with the index lock held.
    tickets: AtomicUsize,
    index: IndexLock<M>,
    first: HartState,
    others: Box<[HartState]>,
}

/// A fault slot in use. While it exists the page table entries and tables around the
/// faulting address stay, and no operation locks a range there.
pub struct FaultGuard<'a> {
    state: &'a HartState,
}

/// Which hart has locked an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockedBy {
    /// None.
    None,
    /// The hart that asks.
    ThisHart,
    /// Another hart.
    Another,
}

impl<M: Machine> RangeLock<M> {
    /// An unlocked one; `others` is the state of every hart but the first.
    #[inline(always)]
    pub fn new(others: Box<[HartState]>) -> Self {
        Self {
            locked: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            tickets: AtomicUsize::new(0),
            index: IndexLock::new(),
            first: HartState::idle(),
            others,
        }
    }

    /// Whether the machine has one hart.
    #[inline(always)]
    pub fn is_one_hart(&self) -> bool {
        self.others.is_empty()
    }

    /// The lock of the shard's index of areas.
    #[inline(always)]
    pub fn index(&self) -> &IndexLock<M> {
        &self.index
    }

    #[inline(always)]
    fn state(&self, hart: usize) -> &HartState {
        match hart.checked_sub(1) {
            None => &self.first,
            Some(other) => &self.others[other],
        }
    }

    /// Takes the fault slot of `hart`, which runs this, for a fault at `vaddr`. The caller
    /// looks at the [locked ranges](Self::locked_by) next. `None` if the slot is in use:
    /// this is a fault of the code that holds it.
    #[inline(always)]
    pub fn fault_slot(&self, hart: usize, vaddr: usize) -> Option<FaultGuard<'_>> {
        let state = self.state(hart);
        let block = (vaddr >> BLOCK_BITS) + 1;
        // SeqCst pairs with the fence in `lock`.
        let free = state
            .faulting
            .compare_exchange(0, block, Ordering::SeqCst, Ordering::Relaxed);
        free.is_ok().then(|| FaultGuard { state })
    }

    /// Whether the fault slot of `hart` is in use.
    pub fn is_faulting(&self, hart: usize) -> bool {
        // Relaxed: a hart asks for itself.
        self.state(hart).faulting.load(Ordering::Relaxed) != 0
    }

    /// Which hart has locked a range with `vaddr` in it. `hart` asks.
    #[inline(always)]
    pub fn locked_by(&self, hart: usize, vaddr: usize) -> LockedBy {
        // SeqCst pairs with the update in `lock`.
        match self.locked.load(Ordering::SeqCst) {
            0 => LockedBy::None,
            harts => self.find_locked(harts, hart, (vaddr, vaddr)),
        }
    }

    /// Whether any of the 2 MiB block around `vaddr` is locked, where this hart holds its
    /// fault slot: an operation that locks some of it later waits for the slot.
    pub fn is_block_locked(&self, vaddr: usize) -> bool {
        let rest = (1 << BLOCK_BITS) - 1;
        // SeqCst pairs with the update in `lock`.
        match self.locked.load(Ordering::SeqCst) {
            0 => false,
            harts => self.find_locked(harts, 0, (vaddr & !rest, vaddr | rest)) != LockedBy::None,
        }
    }

    #[cold]
    fn find_locked(&self, harts: u64, hart: usize, bounds: Bounds) -> LockedBy {
        match self.overlapping(harts, bounds).next() {
            None => LockedBy::None,
            Some(number) if number == hart => LockedBy::ThisHart,
            Some(_) => LockedBy::Another,
        }
    }

    /// Those of `harts`, a bit for each, whose range overlaps `bounds`.
    fn overlapping(&self, harts: u64, bounds: Bounds) -> impl Iterator<Item = usize> {
        let numbers = (0..=self.others.len()).filter(move |number| harts >> number & 1 != 0);
        numbers.filter(move |number| self.state(*number).overlaps(bounds))
    }

    /// Whether no range is locked, and none is waited for. With the index lock held.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        // Relaxed: both are written with the index lock held.
        self.locked.load(Ordering::Relaxed) | self.queued.load(Ordering::Relaxed) == 0
    }

    /// Whether `hart` has locked a range, or waits for one. With the index lock held.
    pub fn is_busy(&self, hart: usize) -> bool {
        let all = self.locked.load(Ordering::Relaxed) | self.queued.load(Ordering::Relaxed);
        all >> hart & 1 != 0
    }

    /// Whether no other hart than `hart` has locked any of `bounds`, or waits for it. With
    /// the index lock held.
    pub fn is_free(&self, hart: usize, bounds: Bounds) -> bool {
        let all = self.locked.load(Ordering::Relaxed) | self.queued.load(Ordering::Relaxed);
        let others = all & !(1 << hart);
        others == 0 || self.overlapping(others, bounds).next().is_none()
    }

    /// Whether `hart` may use `bounds` now: no other hart has locked any of it, nor waits
    /// for it with a lower ticket. For certain with the index lock held; without it a hint.
    #[inline(always)]
    pub fn is_turn(&self, hart: usize, bounds: Bounds) -> bool {
        let others = !(1 << hart);
        let locked = self.locked.load(Ordering::Relaxed) & others;
        let queued = self.queued.load(Ordering::Relaxed);
        locked | queued & others == 0 || self.is_turn_among(hart, bounds, locked, queued)
    }

    #[cold]
    fn is_turn_among(&self, hart: usize, bounds: Bounds, locked: u64, queued: u64) -> bool {
        let ticket = |number: usize| self.state(number).ticket.load(Ordering::Relaxed);
        let own = match queued >> hart & 1 {
            0 => usize::MAX,
            _ => ticket(hart),
        };
        let ahead = |number: usize| ticket(number) < own;
        let others = queued & !(1 << hart);
        self.overlapping(locked, bounds).next().is_none()
            && !self.overlapping(others, bounds).any(ahead)
    }

    /// Puts `hart` at the end of the queue, for `bounds`. If it is there already, it keeps
    /// its place. With the index lock held.
    pub fn enqueue(&self, hart: usize, bounds: Bounds) {
        let state = self.state(hart);
        state.set_range(bounds);
        let queued = self.queued.load(Ordering::Relaxed);
        if queued >> hart & 1 == 0 {
            // Relaxed: whether a hart's turn has come is decided with the index lock held.
            let ticket = self.tickets.load(Ordering::Relaxed);
            self.tickets.store(ticket + 1, Ordering::Relaxed);
            state.ticket.store(ticket, Ordering::Relaxed);
            state.overtakes.start();
            self.queued.store(queued | 1 << hart, Ordering::Relaxed);
        }
    }

    /// Takes `hart` out of the queue, if it is there. With the index lock held.
    #[inline(always)]
    pub fn dequeue(&self, hart: usize) {
        let queued = self.queued.load(Ordering::Relaxed);
        if queued >> hart & 1 != 0 {
            self.queued.store(queued & !(1 << hart), Ordering::Relaxed);
            self.state(hart).overtakes.finish();
        }
    }

    /// Counts an operation of `hart` on `bounds`, whose turn has come, as one that overtakes
    /// each hart that waits for any of them. With the index lock held.
    #[inline(always)]
    pub fn count_turn(&self, hart: usize, bounds: Bounds) {
        if Overtakes::ARE_COUNTED {
            let queued = self.queued.load(Ordering::Relaxed) & !(1 << hart);
            for number in self.overlapping(queued, bounds) {
                self.state(number).overtakes.add(hart);
            }
        }
    }

    /// Locks `bounds` for `hart`, whose turn it is, in the place of what it has locked
    /// before. Returns when no other hart's fault slot is in use there. With the index lock
    /// held.
    #[inline(always)]
    pub fn lock(&self, hart: usize, bounds: Bounds) {
        self.state(hart).set_range(bounds);
        // SeqCst, with the fence: pairs with `fault_slot` and `locked_by`.
        self.locked.fetch_or(1 << hart, Ordering::SeqCst);
        if !self.is_one_hart() {
            self.drain(bounds);
        }
    }

    /// Waits until no fault slot is in use for a block of `bounds`.
    fn drain(&self, bounds: Bounds) {
        fence(Ordering::SeqCst);
        let blocks = (bounds.0 >> BLOCK_BITS) + 1..=(bounds.1 >> BLOCK_BITS) + 1;
        for state in core::iter::once(&self.first).chain(&self.others) {
            let mut turn = 0;
            while blocks.contains(&state.faulting.load(Ordering::SeqCst)) {
                M::relax(turn);
                turn += 1;
            }
        }
    }

    /// Unlocks what `hart` has locked. With the index lock held.
    #[inline(always)]
    pub fn unlock(&self, hart: usize) {
        // Release pairs with `locked_by`: a fault that finds the range unlocked sees what
        // was done under the lock.
        self.locked.fetch_and(!(1 << hart), Ordering::Release);
    }
}

impl FaultGuard<'_> {
    /// The area that the hart faulted a page into last.
    #[inline(always)]
    pub fn cache(&mut self) -> &mut AreaCache {
        // SAFETY: `fault_slot` returns one guard for each time that the slot changes from 0,
        // and only the guard's drop makes it 0 again; so this is the only reference.
        unsafe { &mut *self.state.cache.get() }
    }
}

impl Drop for FaultGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release pairs with `drain`: the operation sees what the fault has written.
        self.state.faulting.store(0, Ordering::Release);
    }
}
