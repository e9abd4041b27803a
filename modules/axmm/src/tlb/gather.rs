//! What must be forgotten, by which harts, before which frames may be reused.
//!
//! A change of an address space collects here what it has detached
//! ([`TlbGather`]). When the change is over, every hart is made to forget the
//! addresses in one go, and only then do the frames go back, however many: they
//! wait in a list that needs no memory ([`FrameList`]), and nobody writes to them
//! meanwhile but who has not forgotten them yet. Which harts are asked is the
//! address space's [`Context`] to say.
//!
//! There are three exceptions. A large page is forgotten at once when it is split,
//! before smaller ones take its place ([`forget_now`](Gather::forget_now)). So are pages
//! that become another kind of memory. And a
//! frame that has other owners besides the page table, which none has yet, cannot
//! have another behind it in the list: what has come so far is forgotten and goes,
//! and the list begins anew.
//!
//! It runs with the addresses locked, so no other hart maps them anew before the last
//! has forgotten them; a hart that waits for the lock acknowledges while it waits.

use core::marker::PhantomData;
use core::ops::Range;

use axalloc::{FrameList, FrameRun};
use memory_addr::{PAGE_SIZE_4K, PhysAddr};

use crate::machine::{ALL_ADDRESSES, Machine};
use crate::page_table::Gather;
use crate::tlb::state::Context;

/// Frames that are freed before requests of other harts are looked for.
const FREED_AT_A_TIME: usize = 1024;

/// What becomes any range that is joined to it.
const NOTHING: Range<usize> = Range {
    start: usize::MAX,
    end: 0,
};

/// Collects what an operation has detached, until everyone has forgotten it.
pub struct TlbGather<'a, M: Machine> {
    context: &'a Context,
    /// The first and the last address of what this operation alone changes.
    alone: (usize, usize),
    /// The smallest range that holds everything to be forgotten; empty for
    /// nothing.
    pages: Range<usize>,
    frames: FrameList,
    /// Whether pages' frames belong to the mapping, and go with it.
    owns_pages: bool,
    /// Whether nothing is taken away.
    adds: bool,
    _machine: PhantomData<M>,
}

impl<'a, M: Machine> TlbGather<'a, M> {
    /// Nothing to flush yet, nothing owned, and no address where tables may be freed.
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            alone: (1, 0),
            pages: NOTHING,
            frames: FrameList::new(),
            owns_pages: false,
            adds: false,
            _machine: PhantomData,
        }
    }

    /// Says that from now on tables may be freed that translate nothing outside of `alone`,
    /// the first and the last address: no other operation changes anything there.
    pub fn set_alone(&mut self, alone: (usize, usize)) {
        self.alone = alone;
    }

    /// Says that pages get rights, and lose none: only this hart forgets what it knows,
    /// to go on with them at once. Another that knows less than there is finds out by a
    /// page fault, which asks nobody.
    pub fn only_adds(&mut self) {
        self.adds = true;
    }

    /// Says whether the frames of pages that come from now on go back, as those
    /// of tables always do.
    pub fn own(&mut self, pages: bool) {
        self.owns_pages = pages;
    }

    fn forget(&mut self, pages: Range<usize>) {
        self.pages.start = self.pages.start.min(pages.start);
        self.pages.end = self.pages.end.max(pages.end);
    }

    /// Sets `count` frames in a row aside.
    #[inline(never)]
    fn free(&mut self, start: PhysAddr, count: usize) {
        // SAFETY: each was the page table's by itself, by `into_raw`, and it has just
        // let go of them.
        let row = unsafe { FrameRun::from_raw(start, count) };
        if let Err(row) = self.frames.push(row) {
            self.begin_anew(row);
        }
    }

    /// Frees what has come so far, behind which `row` cannot wait.
    #[cold]
    fn begin_anew(&mut self, row: FrameRun) {
        self.flush();
        // An empty list takes any row.
        let _ = self.frames.push(row);
    }

    fn forget_all(&self, pages: Range<usize>) {
        self.context.change(|harts| M::flush(harts, pages));
    }

    /// Flushes all that has come from the TLB of every hart that may hold it, in one go, then
    /// frees the frames.
    pub fn finish(mut self) {
        self.flush();
    }

    /// As [`finish`](Self::finish), and begins anew.
    fn flush(&mut self) {
        match self.adds {
            _ if self.pages.is_empty() => {}
            true => M::flush_local(self.pages.clone()),
            false => self.forget_all(self.pages.clone()),
        }
        self.pages = NOTHING;
        while let Some(frames) = self.frames.pop(FREED_AT_A_TIME) {
            drop(frames);
            M::poll();
        }
    }
}

impl<M: Machine> Gather for TlbGather<'_, M> {
    fn pages(&mut self, pages: Range<usize>, frame: PhysAddr) {
        if self.owns_pages {
            self.free(frame, pages.len() / PAGE_SIZE_4K);
        }
        self.forget(pages);
        M::poll();
    }

    fn changed(&mut self, pages: Range<usize>) {
        self.forget(pages);
        M::poll();
    }

    fn table(&mut self, frame: PhysAddr) {
        // The way to a table is only forgotten with everything (RISC-V Privileged
        // Architecture, "Supervisor Memory-Management Fence Instruction").
        self.pages = ALL_ADDRESSES;
        self.free(frame, 1);
    }

    fn forget_now(&mut self, pages: Range<usize>) {
        self.forget_all(pages);
    }

    type Alone = M::IrqGuard;

    fn alone(&self, first: usize, last: usize) -> Option<M::IrqGuard> {
        let (from, to) = self.alone;
        (from <= first && last <= to).then(M::disable_irqs)
    }

    fn undisturbed(&self) -> M::IrqGuard {
        M::disable_irqs()
    }
}

impl<M: Machine> Drop for TlbGather<'_, M> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
