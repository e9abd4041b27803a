//! Committing pages: each gets a frame that no other object has.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;
use core::ptr;

use axalloc::{FrameRun, UsageKind, alloc_frame, alloc_frames};
use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};
use axerrno::{AxError, AxResult};

use super::Vmo;
use super::node::{FANOUT, Leaf};
use super::object::{Body, Object, Page, State, whole_pages};
use super::page_frame::PageFrame;
use super::spares::{Need, Spares};
use crate::addr::parts;
use crate::backing::zeroed::zero;
use crate::boxed::boxed;
use crate::machine::Machine;

impl<M: Machine> Vmo<M> {
    /// Gives each page of `range`, in bytes, a frame that no other object has, as if it were
    /// written. So later writes to these pages need no memory until the next snapshot.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `range` is not page-aligned, or not in the object.
    /// - Fails with `Unsupported` if the object is physical.
    /// - Fails with `NoMemory`.
    /// - Fails with `ResourceBusy` if a frame that has to be copied has 2^31 owners.
    pub fn commit(&self, range: Range<usize>) -> AxResult {
        let (object, pages) = self.locate(&whole_pages(&range)?)?;
        if let Body::Run { owned: None, .. } = object.body {
            return Err(AxError::Unsupported);
        }
        let _turn = object.turn_for(&pages)?;
        object.commit_in_turn(&pages)
    }
}

/// New frames for pages of one leaf of the tree.
struct Fresh {
    /// The committed pages of that leaf, as indices of the tree.
    part: Range<usize>,
    /// The new frames, in the slots of their pages. Empty for pages that need none. This leaf is
    /// not in the tree: its frames are exchanged with those of the leaf that is.
    leaf: Box<Leaf>,
}

impl<M: Machine> Object<M> {
    /// Commits `pages`. The caller has the turn. Does nothing if the object has no tree.
    ///
    /// First all memory is allocated and filled, with the state unlocked, so that nothing has
    /// changed if some is missing. Then it is published, one leaf at a time. A single page is
    /// [loaded](Self::load), which takes fewer allocations.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`, and like [`PageFrame::share`].
    pub fn commit_in_turn(&self, pages: &Range<usize>) -> AxResult {
        let Body::Tree { base } = self.body else {
            return Ok(());
        };
        if pages.len() == 1 {
            return self.load(pages.start).map(|_| ());
        }
        let (mut need, mut before) = (Need::default(), None);
        let mut fresh: Vec<Fresh> = Vec::new();
        let mut longest_run = FANOUT;
        for part in parts(base + pages.start..base + pages.end, FANOUT) {
            let state = self.state.read();
            let missing = state.missing(&part);
            let part_need = state.tree.leaf_need(part.start, before);
            drop(state);
            if missing.is_empty() {
                continue;
            }
            let reserved = fresh.try_reserve(1);
            reserved.map_err(|_| AxError::NoMemory)?;
            let mut leaf = boxed(Leaf::new())?;
            self.fill(&mut leaf, &missing, part.start, &mut longest_run)?;
            need += part_need;
            before = Some(part.start);
            fresh.push(Fresh { part, leaf });
        }
        let mut spares = Spares::default();
        spares.fill(need)?;
        for Fresh { part, mut leaf } in fresh {
            let merge = |state: &mut State| state.merge(part.start, &mut leaf, &mut spares);
            self.state.with(merge)?;
            // Mappings may show the former frames, which are in `leaf` now, or the zero frame.
            self.mappings.unmap(part.start - base..part.end - base);
            drop(leaf);
            M::poll();
        }
        Ok(())
    }

    /// Puts new frames for the missing pages into `leaf`. `index` is the index in the tree of any
    /// page of the leaf.
    ///
    /// No run of more than `longest_run` frames is asked for. It is lowered when no longer run is
    /// free, so that the calls for the next leaves do not look for one again.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`, and like [`PageFrame::share`].
    fn fill(
        &self,
        leaf: &mut Leaf,
        missing: &Missing,
        index: usize,
        longest_run: &mut usize,
    ) -> AxResult {
        for slots in runs(missing.absent) {
            let mut empty = &mut leaf.frames[slots];
            while !empty.is_empty() {
                let run = zeroed_run::<M>(empty.len(), longest_run)?;
                let (filled, rest) = empty.split_at_mut(run.count());
                for (slot, frame) in filled.iter_mut().zip(PageFrame::split(run)) {
                    *slot = Some(frame);
                }
                empty = rest;
            }
        }
        for slot in runs(missing.shared).flatten() {
            let index = (index & !(FANOUT - 1)) + slot;
            // A page request may have copied the page meanwhile, and another owner may have dropped
            // it. The page stays the object's own then, because a snapshot would need the turn.
            let page = self.state.read().page(index)?;
            if let Page::Shared(frame) = page {
                leaf.frames[slot] = Some(new_frame::<M>(Some(&frame))?);
            }
        }
        Ok(())
    }
}

/// The pages of a leaf that need a new frame to be committed. One bit for each page.
struct Missing {
    /// Pages without a frame.
    absent: u64,
    /// Pages whose frame has other owners. The new frame gets a copy of it.
    shared: u64,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.absent | self.shared == 0
    }
}

impl State {
    /// Returns which of the pages `indices`, all of one leaf, need a new frame.
    fn missing(&self, indices: &Range<usize>) -> Missing {
        let first = indices.start % FANOUT;
        let slots = first..first + indices.len();
        let mut missing = Missing {
            absent: 0,
            shared: 0,
        };
        let found = self.tree.find(indices.start);
        for slot in slots {
            let frame = found
                .as_ref()
                .and_then(|found| found.leaf.frames[slot].as_ref());
            let is_path_owned = found.as_ref().is_some_and(|found| found.is_path_owned);
            match frame {
                None => missing.absent |= 1 << slot,
                Some(frame) if is_path_owned && !frame.is_shared() => {}
                Some(_) => missing.shared |= 1 << slot,
            }
        }
        missing
    }

    /// Exchanges frames of the leaf of page `index` with `fresh`, which has new ones. A page keeps its
    /// frame if a page request has made it the object's own since `fresh` was filled.
    ///
    /// # Errors
    ///
    /// Fails like [`PageFrame::share`].
    fn merge(&mut self, index: usize, fresh: &mut Leaf, spares: &mut Spares) -> AxResult {
        let leaf = self.tree.leaf_mut(index, spares)?;
        for (now, fresh) in leaf.frames.iter_mut().zip(&mut fresh.frames) {
            if fresh.is_some() && now.as_ref().is_none_or(PageFrame::is_shared) {
                mem::swap(now, fresh);
            }
        }
        Ok(())
    }
}

/// Returns the runs of bits that are set.
fn runs(mut bits: u64) -> impl Iterator<Item = Range<usize>> {
    core::iter::from_fn(move || {
        let start = bits.trailing_zeros();
        let len = (bits.checked_shr(start)?).trailing_ones();
        let end = start + len;
        bits &= u64::MAX.checked_shl(end).unwrap_or(0);
        Some(start as usize..end as usize)
    })
}

/// Allocates contiguous frames full of zeroes, at most `count` and at most `longest`. If no such run
/// is free, tries shorter ones, and lowers `longest` to the length that it tries. Their lengths are
/// powers of two, as those of the allocator's blocks.
///
/// # Errors
///
/// Fails with `NoMemory`.
fn zeroed_run<M: Machine>(count: usize, longest: &mut usize) -> AxResult<FrameRun> {
    let mut count = count.min(*longest);
    loop {
        match alloc_frames(count, PAGE_SIZE, UsageKind::Object) {
            Err(AxError::NoMemory) if count > 1 => {
                // The largest power of two below `count`.
                count = count.next_power_of_two() / 2;
                *longest = count;
            }
            Err(error) => return Err(error),
            Ok(mut frames) => {
                zero::<M>(&mut frames);
                return Ok(FrameRun::from(frames));
            }
        }
    }
}

/// Allocates a frame with the bytes of `source`, or full of zeroes.
///
/// # Errors
///
/// Fails with `NoMemory`.
pub fn new_frame<M: Machine>(source: Option<&PageFrame>) -> AxResult<PageFrame> {
    let mut frame = alloc_frame(UsageKind::Object)?;
    match source {
        None => frame.zero(),
        Some(source) => {
            let from = ptr::with_exposed_provenance(source.start().as_usize() + PHYS_VIRT_OFFSET);
            let to = frame.as_bytes_mut();
            // SAFETY: both frames are in the linear mapping, so no access faults. Rust code has no
            // references to the bytes of an object's frame, and `to` belongs to this function.
            unsafe { M::copy(from, to.as_mut_ptr(), to.len()) };
        }
    }
    let mut frames = PageFrame::split(FrameRun::from(frame));
    frames.next().ok_or(AxError::NoMemory)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_are_found() {
        for (bits, expected) in [
            (0, vec![]),
            (1, vec![(0, 1)]),
            (u64::MAX, vec![(0, 64)]),
            (1 << 63, vec![(63, 64)]),
            (0b1011_0110, vec![(1, 3), (4, 6), (7, 8)]),
        ] {
            let found = runs(bits).map(|run| (run.start, run.end));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{bits:#b}");
        }
    }
}
