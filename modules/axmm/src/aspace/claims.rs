//! Who works where in an address space, or one of its zones, so that many harts can at a
//! time.
//!
//! ```text
//!             hart 0        hart 1        hart 2        hart 3
//!   brings    block 7 ▪     –             block 9 ▪     –          each its own line
//!   claims    –             20..24 ▪      –             –
//!   writer                  ▪                                      one, for the areas
//! ```
//!
//! A hart that *brings* a page (a page fault, a copy in or out) says in which block of
//! 2 MiB, in a line of its own, then looks at the claims. A hart that takes pages or
//! rights away *claims* their addresses, then looks at who brings. Both are in sequential
//! order, so that one of the two sees the other: who brings gives way, and who claims
//! waits for those that were first. So while a claim stands nobody else touches what is
//! mapped there, or its tables. Who brings more than the page that was touched brings it
//! where nothing of the block is claimed.
//!
//! Claims do not overlap: they are made, and areas changed, by one hart at a time, the
//! *writer*. It is the writer only while it works on the areas, and lets others be while
//! it works on the page table and waits for other harts to forget.
//!
//! Nobody waits for ever: who brings waits for nobody before it is done; the writer only
//! for who brings; and who waits for a claim to go, or to be the writer, has neither, and
//! answers requests to forget meanwhile.
//!
//! What a hart found out about the last page it brought stays in its line, so that as long
//! as the areas there stay as they are no hart reads what another writes.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::marker::PhantomData;

use axerrno::AxResult;

use crate::areas::{Area, Sight};
use crate::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::backend::Backend;
use crate::boxed::boxed_row;
use crate::machine::Machine;

#[cfg(all(test, loom))]
mod interleavings;

/// What one table of the lowest level translates.
const BLOCK_BITS: u32 = 21;

/// Addresses, from the first to the last.
pub type Bounds = (usize, usize);

/// All addresses.
pub const ALL: Bounds = (0, usize::MAX);

/// In the place of a block or of the writer's number: others' claims are for that now.
const GONE: usize = usize::MAX;

/// What one hart does. In this order a page fault takes one instruction less to reach what
/// it uses.
#[repr(C, align(64))]
struct Line {
    /// The block that it brings a page of, and one; 0 for none; or `GONE`.
    block: AtomicUsize,
    /// What it claims, while its bit is set.
    from: AtomicUsize,
    to: AtomicUsize,
    /// Used by who brings a page alone.
    recent: UnsafeCell<Recent>,
    /// What it changes, or has changed last, other than by mapping: some of its claim.
    changed: [AtomicUsize; 2],
}

/// What a hart found when it last brought a page.
pub struct Recent {
    /// The area.
    pub area: Option<Area<Backend>>,
    /// Where it was seen.
    pub sight: Sight<Backend>,
}

impl Line {
    fn idle() -> Self {
        Self {
            block: AtomicUsize::new(0),
            from: AtomicUsize::new(0),
            to: AtomicUsize::new(0),
            changed: [AtomicUsize::new(0), AtomicUsize::new(0)],
            recent: UnsafeCell::new(Recent {
                area: None,
                sight: Sight::NOWHERE,
            }),
        }
    }
}

/// Which hart works where.
pub struct Claims<M> {
    /// The hart that works on the areas, and one; 0 for none; or `GONE`.
    writer: AtomicUsize,
    /// One bit for each hart that has a claim.
    claiming: AtomicU64,
    /// How many harts will be the writer again without having a claim; the writer counts.
    waiting: AtomicUsize,
    /// How often one has waited for another.
    meetings: AtomicUsize,
    first: Line,
    others: Box<[Line]>,
    _machine: PhantomData<M>,
}

/// That a page is being brought: while there is this, nobody takes it away.
pub struct Bringing<'a> {
    line: &'a Line,
}

/// Who has claimed an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody.
    No,
    /// The hart that asks.
    ByThisHart,
    /// Another.
    ByAnother,
}

impl<M: Machine> Claims<M> {
    /// None, by any of the machine's harts.
    ///
    /// # Errors
    ///
    /// `NoMemory` for a line for each hart.
    #[inline(always)]
    pub fn new() -> AxResult<Self> {
        let others = match M::harts() {
            ..=1 => Box::default(),
            harts => boxed_row((1..harts).map(|_| Line::idle()))?,
        };
        Ok(Self {
            writer: AtomicUsize::new(0),
            claiming: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            meetings: AtomicUsize::new(0),
            first: Line::idle(),
            others,
            _machine: PhantomData,
        })
    }

    /// Whether the machine has one hart, which is out of everybody's way.
    #[inline(always)]
    pub fn is_one_hart(&self) -> bool {
        self.others.is_empty()
    }

    #[inline(always)]
    fn line(&self, hart: usize) -> &Line {
        match hart.checked_sub(1) {
            None => &self.first,
            Some(other) => &self.others[other],
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        core::iter::once(&self.first).chain(&self.others)
    }

    /// `hart`, which runs this, brings a page at `vaddr`, and looks at the
    /// [claims](Self::claimed) next. `None` if it is bringing one already: this is a
    /// fault of the code that does; or if all [give way](Self::give_way) to other claims.
    #[inline(always)]
    pub fn bring(&self, hart: usize, vaddr: usize) -> Option<Bringing<'_>> {
        let line = self.line(hart);
        let block = (vaddr >> BLOCK_BITS) + 1;
        // What it brings already is there to be seen all the while.
        let free = line
            .block
            .compare_exchange(0, block, Ordering::SeqCst, Ordering::Relaxed);
        free.is_ok().then(|| Bringing { line })
    }

    /// Who has claimed `vaddr`. `hart` asks.
    #[inline(always)]
    pub fn claimed(&self, hart: usize, vaddr: usize) -> Claimed {
        match self.claiming.load(Ordering::SeqCst) {
            0 => Claimed::No,
            harts => self.claimed_by(harts, hart, (vaddr, vaddr)),
        }
    }

    /// Whether anybody has claimed any of the block that `vaddr` lies in, where this hart
    /// brings a page: who claims some of it later waits.
    pub fn is_block_claimed(&self, vaddr: usize) -> bool {
        let rest = (1 << BLOCK_BITS) - 1;
        match self.claiming.load(Ordering::SeqCst) {
            0 => false,
            harts => self.claimed_by(harts, 0, (vaddr & !rest, vaddr | rest)) != Claimed::No,
        }
    }

    #[cold]
    fn claimed_by(&self, harts: u64, hart: usize, bounds: Bounds) -> Claimed {
        let (from, to) = bounds;
        let overlaps = |number: &usize| {
            let line = self.line(*number);
            harts & 1 << number != 0
                && line.from.load(Ordering::Acquire) <= to
                && from <= line.to.load(Ordering::Acquire)
        };
        match (0..=self.others.len()).find(overlaps) {
            None => Claimed::No,
            Some(number) if number == hart => Claimed::ByThisHart,
            Some(_) => Claimed::ByAnother,
        }
    }

    /// Makes `hart`, which runs this with interrupts out, the writer.
    #[inline(always)]
    pub fn begin(&self, hart: usize) {
        if !self.try_begin(hart) {
            self.wait_to_begin(hart);
        }
    }

    /// As [`begin`](Self::begin), if nobody else is the writer. Answers whether it is.
    #[inline(always)]
    pub fn try_begin(&self, hart: usize) -> bool {
        // Who is not the first does not take the line from who is.
        self.writer.load(Ordering::Relaxed) == 0
            && self
                .writer
                .compare_exchange(0, hart + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    #[cold]
    fn wait_to_begin(&self, hart: usize) {
        let mut turn = 0;
        while !self.try_begin(hart) {
            M::relax(turn);
            turn += 1;
        }
    }

    /// Whether another than `hart`, which is the writer, has a claim within `bounds`.
    #[inline(always)]
    pub fn is_claimed(&self, hart: usize, bounds: Bounds) -> bool {
        match self.claiming.load(Ordering::Relaxed) {
            0 => false,
            harts => self.claimed_by(harts & !(1 << hart), hart, bounds) != Claimed::No,
        }
    }

    /// Waits until nobody has a claim within `bounds`. `hart` is the writer, and has been
    /// another meanwhile.
    #[cold]
    pub fn wait_for_claims(&self, hart: usize, bounds: Bounds) {
        let mut turn = 0;
        while self.is_claimed(hart, bounds) {
            self.count_waiting(1);
            self.end();
            M::relax(turn);
            turn += 1;
            self.begin(hart);
            self.count_waiting(-1);
        }
    }

    /// Counts those that come back to be the writer. For the writer.
    fn count_waiting(&self, more: isize) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.waiting
            .store(waiting.wrapping_add_signed(more), Ordering::Relaxed);
    }

    /// Makes `hart`, which has no claim, the writer, if nobody has a claim or will come
    /// back to be it, and claims all. Answers whether it has.
    pub fn try_close(&self, hart: usize) -> bool {
        self.begin(hart);
        let closes = self.is_quiet(hart);
        match closes {
            true => self.claim(hart, ALL),
            false => self.end(),
        }
        closes
    }

    /// As before [`try_close`](Self::try_close).
    pub fn open(&self, hart: usize) {
        self.unclaim(hart);
        self.end();
    }

    /// Whether nobody but `hart`, the writer, has begun anything here.
    fn is_quiet(&self, hart: usize) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 && !self.is_claimed(hart, ALL)
    }

    /// Sends all that come to other claims from now on, if nobody has begun anything here.
    /// `publish` makes those known. Answers whether it has.
    pub fn give_way(&self, hart: usize, publish: impl FnOnce()) -> bool {
        if !self.try_begin(hart) {
            return false;
        }
        if !self.is_quiet(hart) {
            self.end();
            return false;
        }
        for line in self.lines() {
            let mut turn = 0;
            while line
                .block
                .compare_exchange(0, GONE, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                M::relax(turn);
                turn += 1;
            }
        }
        publish();
        self.writer.store(GONE, Ordering::Release);
        true
    }

    /// Whether `hart` brings a page here.
    pub fn is_bringing(&self, hart: usize) -> bool {
        !matches!(self.line(hart).block.load(Ordering::Relaxed), 0 | GONE)
    }

    /// A hart waits for the writer. When that has happened often: what the writer changes,
    /// or has changed last other than by mapping.
    pub fn meet(&self) -> Option<Bounds> {
        let writer = self.writer.load(Ordering::Relaxed);
        if !(1..=self.others.len() + 1).contains(&writer) {
            return None;
        }
        // It need not be exact: of two that count at a time one may be lost.
        let meetings = self.meetings.load(Ordering::Relaxed).wrapping_add(1);
        self.meetings.store(meetings, Ordering::Relaxed);
        if !meetings.is_multiple_of(M::MEETINGS) {
            return None;
        }
        let [from, to] = &self.line(writer - 1).changed;
        let changed = (from.load(Ordering::Relaxed), to.load(Ordering::Relaxed));
        // Nothing yet, or the writer is just writing it.
        (changed != (0, 0) && changed.0 <= changed.1).then_some(changed)
    }

    /// `hart` is about to change `bounds`, for whoever [meets](Self::meet) it.
    pub fn note(&self, hart: usize, bounds: Bounds) {
        let [from, to] = &self.line(hart).changed;
        from.store(bounds.0, Ordering::Relaxed);
        to.store(bounds.1, Ordering::Relaxed);
    }

    /// The writer is it no more.
    #[inline(always)]
    pub fn end(&self) {
        self.writer.store(0, Ordering::Release);
    }

    /// Whether `hart` is the writer.
    pub fn is_writer(&self, hart: usize) -> bool {
        self.writer.load(Ordering::Relaxed) == hart + 1
    }

    /// `hart`, the writer, claims `bounds`, where nobody else has a claim, and nothing
    /// besides. Returns when nobody brings a page there any more.
    pub fn claim(&self, hart: usize, bounds: Bounds) {
        let line = self.line(hart);
        // Who finds that an earlier claim has made way for this one has what was done there.
        line.from.store(bounds.0, Ordering::Release);
        line.to.store(bounds.1, Ordering::Release);
        self.claiming.fetch_or(1 << hart, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let blocks = (bounds.0 >> BLOCK_BITS) + 1..=(bounds.1 >> BLOCK_BITS) + 1;
        for line in self.lines() {
            let mut turn = 0;
            while blocks.contains(&line.block.load(Ordering::SeqCst)) {
                M::relax(turn);
                turn += 1;
            }
        }
    }

    /// `hart` has no claim any more.
    pub fn unclaim(&self, hart: usize) {
        self.claiming.fetch_and(!(1 << hart), Ordering::Release);
    }
}

impl Bringing<'_> {
    /// What the hart found when it last brought a page.
    #[inline(always)]
    pub fn recent(&mut self) -> &mut Recent {
        // SAFETY: whoever has the line's block not 0 has the only `Bringing` (`bring`).
        unsafe { &mut *self.line.recent.get() }
    }
}

impl Drop for Bringing<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.line.block.store(0, Ordering::Release);
    }
}
