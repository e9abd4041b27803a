//! The TLB gather: what one operation has taken out of the page table, until it is flushed and
//! freed.
//!
//! While an operation changes the page table, the gather collects the changed addresses and
//! the frames that are no longer in use. [`finish`](TlbGather::finish) then flushes all of the
//! addresses in one go, and frees the frames after it. The frames wait in a list that takes no
//! memory of its own ([`FrameList`]): they are linked through their metadata. Their bytes are
//! not touched, because harts that have not flushed yet may still write there. The
//! [`TlbState`] of the address space says which harts flush.
//!
//! These cases do not wait for `finish`:
//!
//! - A large page is flushed when it is split, before smaller pages take its place
//!   ([`flush_now`](Flusher::flush_now)).
//! - Pages that become another kind of memory are flushed while they are not mapped.
//! - A large page whose frames have other owners is flushed, and its frames are released, as soon
//!   as its entry is cleared.
//!
//! A frame that has other owners besides the page table cannot link to a next frame in the list.
//! So the entry of a small page with such a frame keeps the address, and is not present for the
//! hardware. After the flush the operation unmaps its range again. It uses a second gather,
//! for which these pages are in no TLB ([`set_flushed`](TlbGather::set_flushed)). The entry of a
//! large page cannot keep the address, because it would look like one that leads to a table.
//!
//! The caller has locked the range, so no other hart maps its addresses again before all harts
//! have flushed them. A hart that waits for the lock handles flush requests meanwhile.

use core::marker::PhantomData;
use core::ops::Range;

use axalloc::{FrameList, FrameRun};
use memory_addr::{PAGE_SIZE_4K, PhysAddr};

use crate::addr::last_address;
use crate::machine::{ALL_ADDRESSES, Machine};
use crate::page_table::frames::TableFrames;
use crate::page_table::{Flusher, FrameOwners};
#[cfg(feature = "objects")]
use crate::tlb::joint::JointFlush;
use crate::tlb::state::TlbState;
use crate::zero_frame::is_zero_frame;

/// The number of frames that are freed between two calls of [`Machine::poll`].
const FRAMES_PER_POLL: usize = 1024;

/// An empty range. [Widened](widen) by another range, it is that range.
pub const EMPTY: Range<usize> = Range {
    start: usize::MAX,
    end: 0,
};

/// Makes `pages` the smallest range that also holds `more`.
#[inline(always)]
pub fn widen(pages: &mut Range<usize>, more: Range<usize>) {
    pages.start = pages.start.min(more.start);
    pages.end = pages.end.max(more.end);
}

/// What one operation has taken out of the page table. [`finish`](Self::finish) ends it.
pub struct TlbGather<'a, M: Machine> {
    tlb_state: &'a TlbState,
    /// The first and the last address of the range in which only this operation maps and unmaps.
    /// The end in place of the last address would cost two more instructions for each table on
    /// riscv64.
    exclusive: (usize, usize),
    /// The smallest range that holds all addresses to be flushed.
    pages: Range<usize>,
    frames: FrameList,
    /// Whether the frames of unmapped pages are freed.
    owns_frames: bool,
    /// Whether frames that have other owners stay in their entries.
    leaves_shared: bool,
    /// Whether such a frame has been left.
    has_left: bool,
    /// Whether the pages that are unmapped are in no TLB.
    flushed: bool,
    /// Whether the operation only adds rights.
    only_adds_rights: bool,
    _machine: PhantomData<M>,
}

impl<'a, M: Machine> TlbGather<'a, M> {
    /// Returns a gather that has collected nothing. It frees no frames of pages
    /// ([`set_owns_frames`](Self::set_owns_frames)) and lets no table be freed
    /// ([`set_exclusive`](Self::set_exclusive)).
    pub fn new(tlb_state: &'a TlbState) -> Self {
        Self {
            tlb_state,
            exclusive: (1, 0),
            pages: EMPTY,
            frames: FrameList::new(),
            owns_frames: false,
            leaves_shared: cfg!(feature = "objects") && !tlb_state.is_kernel(),
            has_left: false,
            flushed: false,
            only_adds_rights: false,
            _machine: PhantomData,
        }
    }

    /// From now on, lets a table be freed if all addresses that it translates are in `exclusive`.
    /// No other operation maps or unmaps anything there. The range may be empty, but does not end
    /// at 0.
    #[inline(always)]
    pub fn set_exclusive(&mut self, exclusive: Range<usize>) {
        self.exclusive = (exclusive.start, last_address(exclusive.end));
    }

    /// Says that the operation only adds rights to pages. Then only this hart flushes, so that
    /// it can use the new rights at once. Another hart that holds the old rights takes a page
    /// fault when it uses a new one, and flushes then.
    pub fn set_only_adds_rights(&mut self) {
        self.only_adds_rights = true;
    }

    /// Says whether the frames of pages that are unmapped from now on are freed. Frames of
    /// tables always are.
    pub fn set_owns_frames(&mut self, owns_frames: bool) {
        self.owns_frames = owns_frames;
    }

    /// Says that no TLB holds a translation of the pages that are unmapped from now on. They have
    /// been unmapped before, when their frames were left in the entries.
    pub fn set_flushed(&mut self) {
        self.flushed = true;
    }

    /// Lets `joint` flush all collected addresses, and marks the address space as stale for harts
    /// that enter later. The caller sends `joint` before it [finishes](Self::finish) the gather,
    /// which then only frees the frames.
    #[cfg(feature = "objects")]
    pub fn join(&mut self, joint: &mut JointFlush) {
        if !self.pages.is_empty() {
            joint.add(
                self.tlb_state.mark_stale(),
                core::mem::replace(&mut self.pages, EMPTY),
            );
        }
    }

    /// Flushes all collected addresses from the TLBs that may hold them, then frees the frames.
    /// Every operation calls this, also one that fails.
    pub fn finish(mut self) {
        self.flush_and_free();
    }

    fn flush_and_free(&mut self) {
        if self.pages.is_empty() {
            // Nothing is to be flushed.
        } else if self.only_adds_rights {
            M::flush_local(self.pages.clone());
        } else {
            self.shoot_down(self.pages.clone());
        }
        self.pages = EMPTY;
        while let Some(frames) = self.frames.pop(FRAMES_PER_POLL) {
            drop(frames);
            M::poll();
        }
    }

    fn shoot_down(&self, pages: Range<usize>) {
        self.tlb_state
            .shoot_down(|hart_set| M::flush(hart_set, pages));
    }

    /// Adds `count` contiguous frames to those that are freed.
    #[inline(never)]
    fn add_frames(&mut self, start: PhysAddr, count: usize) {
        // SAFETY: the page table owned each of these frames, which were passed to it by
        // `into_raw`, and has just cleared the entries that led to them.
        let run = unsafe { FrameRun::from_raw(start, count) };
        if let Err(run) = self.frames.push(run) {
            self.begin_new_list(run);
        }
    }

    /// Flushes and frees what has been collected, and begins a new list with `run`.
    #[cold]
    fn begin_new_list(&mut self, run: FrameRun) {
        self.flush_and_free();
        // An empty list takes any run.
        let _ = self.frames.push(run);
    }
}

impl<M: Machine> Flusher for TlbGather<'_, M> {
    fn unmapped(&mut self, pages: Range<usize>, frame: PhysAddr) -> bool {
        let is_owned = self.owns_frames && !is_zero_frame(frame);
        let count = pages.len() / PAGE_SIZE_4K;
        if self.flushed {
            if is_owned {
                TableFrames::release_pages(frame, count);
            }
            M::poll();
            return true;
        }
        let is_left = is_owned && self.leaves_shared && !TableFrames::is_exclusive(frame, 1);
        if is_owned && !is_left {
            self.add_frames(frame, count);
        }
        self.has_left |= is_left;
        widen(&mut self.pages, pages);
        M::poll();
        !is_left
    }

    fn has_left_entries(&self) -> bool {
        self.has_left
    }

    fn poll(&self) {
        M::poll();
    }

    fn changed_tables(&mut self) {
        // Entries that lead to tables are only flushed together with all addresses (RISC-V
        // Privileged Architecture, "Supervisor Memory-Management Fence Instruction").
        self.pages = ALL_ADDRESSES;
    }

    fn changed(&mut self, pages: Range<usize>) {
        widen(&mut self.pages, pages);
        M::poll();
    }

    fn detached_table(&mut self, frame: PhysAddr) {
        self.changed_tables();
        self.add_frames(frame, 1);
    }

    fn flush_now(&mut self, pages: Range<usize>) {
        self.shoot_down(pages);
    }

    type IrqGuard = M::IrqGuard;

    fn disable_irqs(&self) -> M::IrqGuard {
        M::disable_irqs()
    }

    fn disable_irqs_if_exclusive(&self, first: usize, last: usize) -> Option<M::IrqGuard> {
        let (exclusive_first, exclusive_last) = self.exclusive;
        (exclusive_first <= first && last <= exclusive_last).then(M::disable_irqs)
    }
}

impl<M: Machine> Drop for TlbGather<'_, M> {
    fn drop(&mut self) {
        debug_assert!(
            self.pages.is_empty() && self.frames.pop(1).is_none(),
            "a TLB gather must be finished before it is dropped"
        );
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
