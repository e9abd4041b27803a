//! Page requests: what a page fault in a mapped object asks for.

use core::mem;

use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use super::Vmo;
use super::commit::new_frame;
use super::node::FANOUT;
use super::object::{Body, Object, Page, State};
use super::page_frame::PageFrame;
use super::spares::{Need, Spares};
use crate::machine::Machine;
use crate::zero_frame::{is_zero_frame, zero_frame};

/// What a page is requested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For writing.
    Write,
}

/// Pages of an object in contiguous frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The offset of the first page in the object, in bytes.
    pub offset: usize,
    /// The physical address of the first frame.
    pub frame: PhysAddr,
    /// The number of pages.
    pub count: usize,
    /// Whether the pages may be written in place, because no other object has them.
    pub writable: bool,
}

impl<M: Machine> Vmo<M> {
    /// Returns the page at `offset`, and those behind it that follow in contiguous frames.
    ///
    /// For reading, a page that was never written is the zero frame, and no memory is allocated.
    /// For writing, the page becomes one that no other object has. Another operation may take the
    /// pages away as soon as this returns, unless they are pinned.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `offset` is not page-aligned, or not below the length.
    /// - Fails with `NoMemory` if the page has to be allocated or copied.
    pub fn request(&self, offset: usize, access: Access) -> AxResult<Run> {
        loop {
            match self.try_request(offset, access, usize::MAX, |run| run)? {
                Some(run) => return Ok(run),
                None => self.load(offset)?,
            }
        }
    }

    /// Calls `f` with the run that [`request`](Self::request) would return, unless the page has to
    /// be allocated or copied first. Returns `None` in that case. The caller may
    /// [`load`](Self::load) the page then, and try again. The run has at most `most` pages, at
    /// least 1. That bounds the time that the state is locked.
    ///
    /// The object's state stays locked and interrupts disabled until `f` returns, so the pages are
    /// not taken away before. Nothing is allocated for the object.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if `offset` is not page-aligned, or not below the length.
    pub(crate) fn try_request<R>(
        &self,
        offset: usize,
        access: Access,
        most: usize,
        f: impl FnOnce(Run) -> R,
    ) -> AxResult<Option<R>> {
        let (object, page, end) = self.page_at(offset)?;
        let end = end.min(page.saturating_add(most));
        object.state.with(|state| {
            let run = object.resident(state, page, end)?;
            let is_ready = access == Access::Read || run.writable;
            state.maps_zero_frame |= is_ready && is_zero_frame(run.frame);
            Ok(is_ready.then(|| f(Run { offset, ..run })))
        })
    }

    /// Makes the page at `offset` one that no other object has. Allocates and fills a frame with
    /// the object's state unlocked.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Self::request).
    pub(crate) fn load(&self, offset: usize) -> AxResult {
        let (object, page, end) = self.page_at(offset)?;
        match page < end {
            true => object.load(page),
            false => Err(AxError::InvalidInput),
        }
    }

    /// Returns the object that has the page at `offset`, the page's index there, and the end of
    /// this object's pages there. It is `usize::MAX` if they end with that object's.
    fn page_at(&self, offset: usize) -> AxResult<(&Object<M>, usize, usize)> {
        if !offset.is_multiple_of(PAGE_SIZE) {
            return Err(AxError::InvalidInput);
        }
        let page = offset / PAGE_SIZE;
        Ok(match &self.0.body {
            Body::Slice { of, first, pages } => (&of.0, first + page, first + pages),
            Body::Tree { .. } | Body::Run { .. } => (&self.0, page, usize::MAX),
        })
    }
}

/// What came of publishing a page.
enum Publication {
    /// The page has the new frame. This was its frame before.
    Done(Option<PageFrame>),
    /// The page is no longer where it was.
    Changed,
    /// Nodes are missing.
    Short(Need),
}

impl<M: Machine> Object<M> {
    /// Returns the page with index `page` as it is, and those behind it that follow in contiguous
    /// frames. All are below `end`, and all may be written or none.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the object does not have the page.
    fn resident(&self, state: &State, page: usize, end: usize) -> AxResult<Run> {
        let end = end.min(state.pages);
        if page >= end {
            return Err(AxError::InvalidInput);
        }
        let run = |frame, count, writable| Run {
            offset: page * PAGE_SIZE,
            frame,
            count,
            writable,
        };
        let zero = run(zero_frame(), 1, false);
        Ok(match self.body {
            Body::Run { start, .. } => run(start + page * PAGE_SIZE, end - page, true),
            Body::Slice { .. } => zero,
            Body::Tree { base } => {
                let slot = (base + page) % FANOUT;
                let Some(found) = state.tree.find(base + page) else {
                    return Ok(zero);
                };
                let Some(first) = &found.leaf.frames[slot] else {
                    return Ok(zero);
                };
                let writable = found.is_path_owned && !first.is_shared();
                let frames = found.leaf.frames[slot..].iter().take(end - page);
                let follows = |(number, frame): &(usize, &Option<PageFrame>)| {
                    frame.as_ref().is_some_and(|frame| {
                        frame.start() == first.start() + number * PAGE_SIZE
                            && writable == (found.is_path_owned && !frame.is_shared())
                    })
                };
                let count = frames.enumerate().take_while(follows).count();
                run(first.start(), count, writable)
            }
        })
    }

    /// Makes the page with index `page` one that no other object has.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if the object does not have the page.
    /// - Fails with `NoMemory`.
    pub fn load(&self, page: usize) -> AxResult {
        let index = self.in_tree(&(page..page + 1))?.start;
        let mut spares = Spares::default();
        loop {
            let source = self.state.with(|state| match page < state.pages {
                true => state.page(index),
                false => Err(AxError::InvalidInput),
            })?;
            let source = match source {
                Page::Owned(_) => return Ok(()),
                Page::Shared(frame) => Some(frame),
                Page::Absent => None,
            };
            if source.is_some() {
                // A snapshot that is being made may not have write-protected the page yet. What
                // is written through a mapping must not be missing in the copy.
                self.mappings.write_protect(page..page + 1);
            }
            let mut fresh = Some(new_frame::<M>(source.as_ref())?);
            loop {
                let mut maps_zero_frame = false;
                let publish = |state: &mut State| {
                    maps_zero_frame = state.maps_zero_frame;
                    let is_inside = page < state.pages;
                    match is_inside && state.has(index, source.as_ref()) {
                        true => state.publish(index, &mut fresh, &mut spares),
                        false => Ok(Publication::Changed),
                    }
                };
                match self.state.with(publish)? {
                    Publication::Done(former) => {
                        if former.is_some() || maps_zero_frame {
                            self.mappings.unmap(page..page + 1);
                        }
                        drop(former);
                        return Ok(());
                    }
                    Publication::Changed => break,
                    Publication::Short(need) => spares.fill(need)?,
                }
            }
        }
    }
}

impl State {
    /// Returns whether page `index` of the tree has this frame, or none.
    fn has(&self, index: usize, frame: Option<&PageFrame>) -> bool {
        let found = self.tree.find(index);
        let now = found.and_then(|found| found.leaf.frames[index % FANOUT].as_ref());
        now.map(PageFrame::start) == frame.map(PageFrame::start)
    }

    /// Gives page `index` of the tree the frame `fresh`.
    ///
    /// # Errors
    ///
    /// Fails like [`PageFrame::share`].
    fn publish(
        &mut self,
        index: usize,
        fresh: &mut Option<PageFrame>,
        spares: &mut Spares,
    ) -> AxResult<Publication> {
        let need = self.tree.leaf_need(index, None);
        if !spares.suffice(need) {
            return Ok(Publication::Short(need));
        }
        let leaf = self.tree.leaf_mut(index, spares)?;
        let slot = &mut leaf.frames[index % FANOUT];
        Ok(Publication::Done(mem::replace(slot, fresh.take())))
    }
}
