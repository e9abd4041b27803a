//! The range lock of a shard: ranges of addresses that operations have locked, a queue of those
//! that wait, and one fault slot for each hart.
//!
//! ```text
//!                 hart 0          hart 1            hart 2          hart 3
//!   fault slot    block 7         –                 block 9         –
//!   locked        –               blocks 20..24     –               –
//!   queued        –               –                 –               blocks 22..30, ticket 5
//! ```
//!
//! A page fault writes the 2 MiB block of its address into the fault slot of its hart, then
//! reads the locked ranges. An operation locks its range, then reads the fault slots. All four
//! accesses are sequentially consistent, so at least one of the two sees the other. A fault that
//! sees its address locked gives way: it empties its slot and later waits in the queue. An
//! operation that sees a fault in one of its blocks waits until that slot is empty.
//!
//! Ranges are locked and queued with the index lock held. A hart may lock a range if no locked
//! range overlaps it, and no queued range with a lower ticket does.

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use axerrno::AxResult;
use memory_addr::{VirtAddr, VirtAddrRange};
use memory_set::{LeafSnapshot, MemoryArea};

use super::index_lock::IndexLock;
use super::overtakes::Overtakes;
use crate::addr::{LARGE_PAGE_BITS, one_address, widen_to_blocks};
use crate::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::backing::Backend;
use crate::boxed::boxed_slice;
use crate::machine::Machine;

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

/// What one hart does in the shard. The fields that page faults use come first. A fault uses the
/// slot and the cache of its own hart, and compares its address with the ranges of all harts.
#[repr(C, align(64))]
pub struct HartState {
    /// The fault slot: the number of the 2 MiB block in which the hart faults a page in, plus
    /// one; 0 while the slot is empty.
    faulting: AtomicUsize,
    /// Where the range begins that the hart has locked or is queued for.
    start: AtomicUsize,
    /// Where that range ends.
    end: AtomicUsize,
    /// Used only by the fault that holds the slot.
    cache: UnsafeCell<AreaCache>,
    /// The ticket of the hart while it is in the queue.
    ticket: AtomicUsize,
    /// How often other harts overtake this one while it is in the queue.
    overtakes: Overtakes,
}

/// The area into which a hart faulted a page last. As long as its leaf is unchanged, the next
/// fault there reads no word that another hart writes.
pub struct AreaCache {
    /// The area, or `None` before the first fault.
    pub area: Option<MemoryArea<Backend>>,
    /// The leaf of the tree of areas from which the area was read, and its sequence counter then.
    pub snapshot: LeafSnapshot,
}

impl HartState {
    /// Allocates the state of every hart of the machine but the first.
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

    /// The state of a hart that neither faults nor has locked or queued a range.
    #[inline(always)]
    fn idle() -> Self {
        Self {
            faulting: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            cache: UnsafeCell::new(AreaCache {
                area: None,
                snapshot: LeafSnapshot::NONE,
            }),
            ticket: AtomicUsize::new(0),
            overtakes: Overtakes::new(),
        }
    }

    fn overlaps(&self, range: VirtAddrRange) -> bool {
        // Acquire pairs with the release in `set_range`. A fault may have read a hart's bit in
        // `locked` during one operation, and read here the range of that hart's next operation. If
        // its address is not in that range, the fault goes on. It must then see what the first
        // operation has changed, and the Acquire makes sure of that.
        let start = self.start.load(Ordering::Acquire);
        let end = self.end.load(Ordering::Acquire);
        start < range.end.as_usize() && range.start.as_usize() < end
    }

    fn set_range(&self, range: VirtAddrRange) {
        // Release pairs with the acquire in `overlaps`.
        self.start.store(range.start.as_usize(), Ordering::Release);
        self.end.store(range.end.as_usize(), Ordering::Release);
    }
}

/// The locked ranges of a shard, the queue, and the index lock that guards both.
pub struct RangeLock<M> {
    /// One bit for each hart that has locked a range. Written with the index lock held.
    locked: AtomicU64,
    /// One bit for each hart in the queue. Written with the index lock held.
    queued: AtomicU64,
    /// The next ticket. Written with the index lock held.
    next_ticket: AtomicUsize,
    index: IndexLock<M>,
    first: HartState,
    others: Box<[HartState]>,
}

/// A fault slot in use. While it exists, the page's entry and the tables on the path to it stay:
/// an operation that begins to lock any of the 2 MiB block around the faulting address waits. An
/// operation that had locked other addresses of the block before goes on, and frees no table that
/// translates the faulting address.
pub struct FaultGuard<'a> {
    state: &'a HartState,
}

impl<M: Machine> RangeLock<M> {
    /// A lock with no range locked. `others` is the state of every hart but the first.
    #[inline(always)]
    pub fn new(others: Box<[HartState]>) -> Self {
        Self {
            locked: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            next_ticket: AtomicUsize::new(0),
            index: IndexLock::new(),
            first: HartState::idle(),
            others,
        }
    }

    /// Returns whether the machine has one hart.
    #[inline(always)]
    pub fn is_one_hart(&self) -> bool {
        self.others.is_empty()
    }

    /// The index lock, which guards the shard's areas and what is locked and queued here.
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

    /// Takes the fault slot of `hart`, which runs this, for a fault at `vaddr`, whether the address
    /// is locked or not. The caller checks that next ([`is_locked`](Self::is_locked)). Returns
    /// `None` if the slot is in use: then the code that holds it has caused this fault.
    #[inline(always)]
    pub fn take_slot(&self, hart: usize, vaddr: VirtAddr) -> Option<FaultGuard<'_>> {
        let state = self.state(hart);
        let block = (vaddr.as_usize() >> LARGE_PAGE_BITS) + 1;
        // SeqCst: comes before the load in `is_locked`. Pairs with the load in `drain`.
        let free = state
            .faulting
            .compare_exchange(0, block, Ordering::SeqCst, Ordering::Relaxed);
        free.is_ok().then(|| FaultGuard { state })
    }

    /// Returns whether the fault slot of `hart`, which runs this, is in use.
    pub fn is_faulting(&self, hart: usize) -> bool {
        // Relaxed: only the hart itself writes its slot.
        self.state(hart).faulting.load(Ordering::Relaxed) != 0
    }

    /// Returns whether a hart other than `hart` holds its fault slot for an address in the 2 MiB block
    /// around `vaddr`.
    pub fn is_slot_of_others_near(&self, hart: usize, vaddr: VirtAddr) -> bool {
        let block = (vaddr.as_usize() >> LARGE_PAGE_BITS) + 1;
        // SeqCst: pairs with the write in `take_slot`.
        let holds = |number: &usize| self.state(*number).faulting.load(Ordering::SeqCst) == block;
        (0..=self.others.len())
            .filter(|number| *number != hart)
            .any(|number| holds(&number))
    }

    /// Returns whether any hart has locked `vaddr`. While a hart waits for fault slots in
    /// [`lock`](Self::lock), it has locked whole blocks.
    #[inline(always)]
    pub fn is_locked(&self, vaddr: VirtAddr) -> bool {
        // SeqCst: comes after the write in `take_slot`. Pairs with the update in `mark_locked`.
        match self.locked.load(Ordering::SeqCst) {
            0 => false,
            harts => self.any_overlaps(harts, one_address(vaddr)),
        }
    }

    #[cold]
    fn any_overlaps(&self, harts: u64, range: VirtAddrRange) -> bool {
        self.overlapping(harts, range).next().is_some()
    }

    /// Returns whether any of the 2 MiB block around `vaddr` is locked. The caller holds its
    /// fault slot for `vaddr`, so an operation that locks some of the block later waits.
    pub fn is_block_locked(&self, vaddr: VirtAddr) -> bool {
        let block = widen_to_blocks(one_address(vaddr));
        // SeqCst: comes after the write in `take_slot`. Pairs with the update in `mark_locked`.
        let harts = self.locked.load(Ordering::SeqCst);
        harts != 0 && self.any_overlaps(harts, block)
    }

    /// Returns those of `harts`, a bit for each, whose range overlaps `range`.
    fn overlapping(&self, harts: u64, range: VirtAddrRange) -> impl Iterator<Item = usize> {
        let numbers = (0..=self.others.len()).filter(move |number| harts >> number & 1 != 0);
        numbers.filter(move |number| self.state(*number).overlaps(range))
    }

    /// Returns the harts that have locked a range or are queued for one, a bit for each. Without
    /// the index lock only the bit of the hart that runs this is certain.
    #[inline(always)]
    fn busy_harts(&self) -> u64 {
        // Relaxed: both are written with the index lock held, and only a hart itself changes its
        // bit.
        self.locked.load(Ordering::Relaxed) | self.queued.load(Ordering::Relaxed)
    }

    /// Returns whether no range is locked or queued. Called with the index lock held.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        self.busy_harts() == 0
    }

    /// Returns whether `hart`, which runs this, has locked a range or is queued for one.
    pub fn is_busy(&self, hart: usize) -> bool {
        self.busy_harts() >> hart & 1 != 0
    }

    /// Returns whether no hart except `hart` has locked any of `range` or is queued for it. Called
    /// with the index lock held.
    pub fn is_uncontended(&self, hart: usize, range: VirtAddrRange) -> bool {
        let others = self.busy_harts() & !(1 << hart);
        others == 0 || self.overlapping(others, range).next().is_none()
    }

    /// Returns whether it is the turn of `hart` to use `range`: no other hart has locked any of
    /// it or is queued for it with a lower ticket. Certain with the index lock held; without it
    /// a hint.
    #[inline(always)]
    pub fn is_turn(&self, hart: usize, range: VirtAddrRange) -> bool {
        let others = !(1 << hart);
        // Relaxed: both are written with the index lock held, and a hint may be wrong.
        let locked = self.locked.load(Ordering::Relaxed) & others;
        let queued = self.queued.load(Ordering::Relaxed);
        locked | (queued & others) == 0 || self.is_turn_among(hart, range, locked, queued)
    }

    #[cold]
    fn is_turn_among(&self, hart: usize, range: VirtAddrRange, locked: u64, queued: u64) -> bool {
        // Relaxed: tickets are written with the index lock held.
        let ticket = |number: usize| self.state(number).ticket.load(Ordering::Relaxed);
        // All queued harts are ahead of one that has no ticket.
        let own = match queued >> hart & 1 {
            0 => usize::MAX,
            _ => ticket(hart),
        };
        let is_ahead = |number: usize| ticket(number) < own;
        let others = queued & !(1 << hart);
        self.overlapping(locked, range).next().is_none()
            && !self.overlapping(others, range).any(is_ahead)
    }

    /// Appends `hart` to the queue, for `range`. A hart that is in the queue keeps its ticket.
    /// Called with the index lock held.
    pub fn enqueue(&self, hart: usize, range: VirtAddrRange) {
        let state = self.state(hart);
        state.set_range(range);
        // Relaxed, here and below: whose turn it is is decided with the index lock held.
        let queued = self.queued.load(Ordering::Relaxed);
        if queued >> hart & 1 == 0 {
            let ticket = self.next_ticket.load(Ordering::Relaxed);
            self.next_ticket.store(ticket + 1, Ordering::Relaxed);
            state.ticket.store(ticket, Ordering::Relaxed);
            state.overtakes.start();
            self.queued.store(queued | 1 << hart, Ordering::Relaxed);
        }
    }

    /// Removes `hart` from the queue, if it is there. Called with the index lock held.
    #[inline(always)]
    pub fn dequeue(&self, hart: usize) {
        // Relaxed: the queue is written with the index lock held.
        let queued = self.queued.load(Ordering::Relaxed);
        if queued >> hart & 1 != 0 {
            self.queued.store(queued & !(1 << hart), Ordering::Relaxed);
            self.state(hart).overtakes.finish();
        }
    }

    /// Counts an operation of `hart` on `range`, whose turn has come, as overtaking each hart
    /// that is queued for any of the range. Called with the index lock held.
    #[inline(always)]
    pub fn count_turn(&self, hart: usize, range: VirtAddrRange) {
        if Overtakes::ARE_COUNTED {
            // Relaxed: the queue is written with the index lock held.
            let queued = self.queued.load(Ordering::Relaxed) & !(1 << hart);
            for number in self.overlapping(queued, range) {
                self.state(number).overtakes.add(hart);
            }
        }
    }

    /// Locks `range` for `hart`, whose turn it is. `range` replaces the range of this shard
    /// that the hart had locked before, if any. Waits until the faults of other harts there have
    /// ended. Called with the index lock held.
    ///
    /// A fault may map all of its block, so whole blocks are locked during the wait. A fault that
    /// begins later finds its block locked and gives way. It takes its slot for a few instructions,
    /// and at most three times: in the trap's fast path, in the first attempt of `fault_in`, and in
    /// `fault_slot`. Then it waits for the index lock, which this hart holds. So each hart prolongs
    /// this wait at most three times.
    #[inline(always)]
    pub fn lock(&self, hart: usize, range: VirtAddrRange) {
        if self.is_one_hart() {
            self.mark_locked(hart, range);
        } else {
            let blocks = widen_to_blocks(range);
            self.mark_locked(hart, blocks);
            self.drain(blocks);
            // A fault that reads one old and one new end gives way to too much, never too little.
            self.state(hart).set_range(range);
        }
    }

    #[inline(always)]
    fn mark_locked(&self, hart: usize, range: VirtAddrRange) {
        self.state(hart).set_range(range);
        // SeqCst: comes before the loads in `drain`. Pairs with the load in `is_locked`.
        self.locked.fetch_or(1 << hart, Ordering::SeqCst);
    }

    /// Waits until no fault slot is in use for any of `blocks`.
    fn drain(&self, blocks: VirtAddrRange) {
        let first = (blocks.start.as_usize() >> LARGE_PAGE_BITS) + 1;
        let last = ((blocks.end.as_usize() - 1) >> LARGE_PAGE_BITS) + 1;
        for state in core::iter::once(&self.first).chain(&self.others) {
            let mut round = 0;
            // SeqCst: comes after the update in `mark_locked`. Pairs with the write in
            // `take_slot` and the release in the guard's drop.
            while (first..=last).contains(&state.faulting.load(Ordering::SeqCst)) {
                M::relax(round);
                round += 1;
            }
        }
    }

    /// Unlocks what `hart` has locked. Called with the index lock held.
    #[inline(always)]
    pub fn unlock(&self, hart: usize) {
        // Release pairs with the load in `is_locked`: a fault that finds the range unlocked sees
        // what was done while it was locked.
        self.locked.fetch_and(!(1 << hart), Ordering::Release);
    }
}

impl FaultGuard<'_> {
    /// The area into which the hart faulted a page last.
    #[inline(always)]
    pub fn cache(&mut self) -> &mut AreaCache {
        // SAFETY: `take_slot` returns one guard each time that the slot changes from 0, and
        // only the guard's drop makes it 0 again, so this is the only reference.
        unsafe { &mut *self.state.cache.get() }
    }
}

impl Drop for FaultGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release pairs with the load in `drain`: the operation sees what the fault has written.
        self.state.faulting.store(0, Ordering::Release);
    }
}
