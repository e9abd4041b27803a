//! What a handle refers to: an object's kind, its state, and its locks.

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use axalloc::Frames;
use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use super::big_reader_lock::BigReaderLock;
use super::counted::Counted;
use super::lock::{Turn, TurnGuard};
use super::mappings::Mappings;
use super::page_frame::PageFrame;
use super::tree::Tree;
use super::{CachePolicy, Vmo, VmoKind};
use crate::machine::Machine;

/// The limit of an object's length in bytes.
pub const MAX_LEN: usize = 1 << 52;

/// A memory object. [`lock`](super::lock) says what the locks guard.
pub struct Object<M: Machine> {
    pub kind: VmoKind,
    pub body: Body<M>,
    pub turn: Turn<M>,
    pub state: BigReaderLock<M, State>,
    /// The shared mappings. Private ones show a snapshot, which takes no page away.
    pub mappings: Mappings<M>,
}

/// Where an object's pages come from.
pub enum Body<M: Machine> {
    /// From its tree, in [`State`].
    Tree {
        /// The index in the tree of the object's first page. Not 0 for a snapshot of the later
        /// part of an object, whose tree has the shape of the original's.
        base: usize,
    },
    /// From a run of frames.
    Run {
        start: PhysAddr,
        /// The frames, if they belong to the object.
        owned: Option<Frames>,
    },
    /// From another object, which is not a slice.
    Slice {
        of: Vmo<M>,
        /// The index there of the slice's first page.
        first: usize,
        /// The number of the slice's pages.
        pages: usize,
    },
}

/// The fields of an object that change.
pub struct State {
    /// The number of pages.
    pub pages: usize,
    /// The pages, if the body is [`Body::Tree`]. Otherwise empty.
    pub tree: Tree,
    pub name: &'static str,
    pub policy: CachePolicy,
    /// Whether the zero frame has ever been requested for a page that the tree did not have. If so, a
    /// new page is unmapped everywhere after it was added. Readers of the state set it, and nothing
    /// clears it.
    pub maps_zero_frame: AtomicBool,
    /// The pinned ranges, as page indices. A range that is pinned twice is here twice.
    pub pins: Vec<Range<usize>>,
    /// Counts the objects of the family: those that came from one another by snapshots. Each has
    /// one owner. `None` if there never was a snapshot.
    pub family: Option<Counted<()>>,
}

impl State {
    /// The state of an object of `pages` pages, none of which is in `tree`.
    pub const fn new(pages: usize, tree: Tree) -> Self {
        Self {
            pages,
            tree,
            name: "",
            policy: CachePolicy::Cached,
            maps_zero_frame: AtomicBool::new(false),
            pins: Vec::new(),
            family: None,
        }
    }

    /// Returns whether a page of `pages` is pinned.
    pub fn is_pinned(&self, pages: &Range<usize>) -> bool {
        let overlaps = |pin: &Range<usize>| pin.start < pages.end && pages.start < pin.end;
        !pages.is_empty() && self.pins.iter().any(overlaps)
    }

    /// Returns where page `index` of the tree is now.
    ///
    /// # Errors
    ///
    /// Fails like [`PageFrame::share`].
    #[inline(always)]
    pub fn page(&self, index: usize) -> AxResult<Page> {
        let Some(found) = self.tree.find(index) else {
            return Ok(Page::Absent);
        };
        match &found.leaf.frames[index % found.leaf.frames.len()] {
            None => Ok(Page::Absent),
            Some(frame) if found.is_path_owned && !frame.is_shared() => {
                Ok(Page::Owned(frame.start()))
            }
            Some(frame) => Ok(Page::Shared(frame.share()?)),
        }
    }
}

/// Where a page of an object is.
pub enum Page {
    /// It reads as zero and has no frame.
    Absent,
    /// In a frame that this object alone has. It stays there as long as the caller has the
    /// object's turn.
    Owned(PhysAddr),
    /// In a frame that has other owners, so that no object may write to it. This reference is one
    /// more, and keeps the frame as it is.
    Shared(PageFrame),
}

impl<M: Machine> Object<M> {
    /// Makes an object of which no other thread knows.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`.
    #[inline(always)]
    pub fn create(kind: VmoKind, body: Body<M>, state: State) -> AxResult<Vmo<M>> {
        let object = Counted::new(Self {
            kind,
            body,
            turn: Turn::new(),
            state: BigReaderLock::new(state),
            mappings: Mappings::new(),
        });
        object.map(Vmo)
    }

    /// Waits for the object's turn, and checks that it has all of `pages`. That does not change
    /// during the turn.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if `pages` ends behind the object.
    pub fn turn_for(&self, pages: &Range<usize>) -> AxResult<TurnGuard<'_, M>> {
        let turn = self.turn.wait();
        let is_inside = pages.end <= self.state.read().pages;
        is_inside.then_some(turn).ok_or(AxError::InvalidInput)
    }

    /// Returns the indices in the tree of `pages`, which are indices in the object.
    ///
    /// # Errors
    ///
    /// Fails with `Unsupported` if the object has no tree.
    pub fn in_tree(&self, pages: &Range<usize>) -> AxResult<Range<usize>> {
        match self.body {
            Body::Tree { base } => Ok(base + pages.start..base + pages.end),
            Body::Run { .. } | Body::Slice { .. } => Err(AxError::Unsupported),
        }
    }
}

impl<M: Machine> Drop for Object<M> {
    /// Frees the pages as [`Tree::free`] does. Without this, their frames would be freed with no
    /// poll in between.
    fn drop(&mut self) {
        let tree = &mut self.state.get_mut().tree;
        core::mem::replace(tree, Tree::new(0)).free::<M>();
    }
}

/// Returns the pages of a range of bytes.
///
/// # Errors
///
/// Fails with `InvalidInput` if an end is not page-aligned, or if the range ends before it
/// starts.
pub fn whole_pages(bytes: &Range<usize>) -> AxResult<Range<usize>> {
    if bytes.start > bytes.end || !(bytes.start | bytes.end).is_multiple_of(PAGE_SIZE) {
        return Err(AxError::InvalidInput);
    }
    Ok(bytes.start / PAGE_SIZE..bytes.end / PAGE_SIZE)
}

/// Returns the pages of `len` bytes from `offset` on.
///
/// # Errors
///
/// Fails with `InvalidInput` if `offset` or `len` is not page-aligned, or if there are no such
/// offsets.
pub fn pages_from(offset: usize, len: usize) -> AxResult<Range<usize>> {
    let end = offset.checked_add(len).ok_or(AxError::InvalidInput)?;
    whole_pages(&(offset..end))
}
