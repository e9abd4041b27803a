//! Page requests: what a page fault in a mapped object asks for.

use core::mem;
use core::sync::atomic::Ordering;

use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;

use super::Vmo;
use super::commit::new_frame;
use super::node::FANOUT;
use super::object::{Body, Object, Page, State};
use super::page_frame::PageFrame;
use super::spares::{Need, Spares};
use super::tree::Found;
use crate::machine::Machine;
use crate::zero_frame::zero_frame;

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
    /// For writing, the page becomes one that no other object has. If it has to be allocated or copied
    /// for that, it is returned alone. Another operation may take the pages away as soon as this
    /// returns, unless they are pinned.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `offset` is not page-aligned, or not below the length.
    /// - Fails with `NoMemory` if the page has to be allocated or copied.
    /// - Fails with `ResourceBusy` if the page has to be copied, and a frame beside it cannot have
    ///   another owner.
    pub fn request(&self, offset: usize, access: Access) -> AxResult<Run> {
        loop {
            if let Some(run) = self.try_request(offset, access, usize::MAX, |run| run)? {
                return Ok(run);
            }
            if let Some(frame) = self.load(offset)? {
                return Ok(Run {
                    offset,
                    frame,
                    count: 1,
                    writable: true,
                });
            }
        }
    }

    /// Calls `f` with the run that [`request`](Self::request) would return, unless the page has to
    /// be allocated or copied first. Returns `None` in that case. The caller may
    /// [`load`](Self::load) the page then, and try again. The run has at most `most` pages, at
    /// least 1. That bounds the time that the state is locked.
    ///
    /// The object's state is read until `f` returns, so the pages are not taken away before.
    /// Interrupts are disabled meanwhile. This allocates nothing. `f` may allocate page tables, but
    /// must lock nothing of an object.
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
        let state = object.state.read();
        let run = object.resident(&state, page, end, access)?;
        Ok(run.map(|run| f(Run { offset, ..run })))
    }

    /// Makes the page at `offset` one that no other object has. Allocates and fills a frame with
    /// the object's state unlocked. Returns that frame, or `None` if the page is such a one already.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Self::request).
    pub(crate) fn load(&self, offset: usize) -> AxResult<Option<PhysAddr>> {
        let (object, page, end) = self.page_at(offset)?;
        match page < end {
            true => object.load(page),
            false => Err(AxError::InvalidInput),
        }
    }

    /// Unmaps the page at `offset` wherever it is mapped. Another hart that has given the page a new
    /// frame may not have done so yet.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if `offset` is not page-aligned.
    pub(crate) fn unmap_former(&self, offset: usize) -> AxResult {
        let (object, page, _) = self.page_at(offset)?;
        object.mappings.unmap(page..page + 1);
        Ok(())
    }

    /// Returns the object that has the page at `offset`, the page's index there, and an end for pages
    /// there. For a slice, the end is that of its window. For any other object it is `usize::MAX`,
    /// since its length may change until the state is locked.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if `offset` is not page-aligned.
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
    /// The page has the new frame. `former` was its frame before. Mappings may show that, or the zero
    /// frame, if `may_be_mapped`.
    Done {
        former: Option<PageFrame>,
        may_be_mapped: bool,
    },
    /// The page has another frame than the one that was copied, so the new frame is of no use.
    Changed,
    /// Nothing has changed, because there are fewer spare nodes than this number.
    Short(Need),
}

impl<M: Machine> Object<M> {
    /// Returns the page with index `page` as it is, and those behind it that follow in contiguous
    /// frames. All are below `end`, and all may be written or none. Returns `None` if the page has
    /// to be allocated or copied before `access` is possible.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the object does not have the page.
    #[inline(always)]
    fn resident(
        &self,
        state: &State,
        page: usize,
        end: usize,
        access: Access,
    ) -> AxResult<Option<Run>> {
        let end = end.min(state.pages);
        if page >= end {
            return Err(AxError::InvalidInput);
        }
        let (frame, count, writable) = match self.body {
            Body::Run { start, .. } => (start + page * PAGE_SIZE, end - page, true),
            // `page_at` returns no slice.
            Body::Slice { .. } => return Err(AxError::InvalidInput),
            Body::Tree { base } => {
                let found = state.tree.find(base + page);
                match found.and_then(|found| found.page((base + page) % FANOUT)) {
                    Some(first) if access == Access::Read || first.is_writable => {
                        (first.frame(), first.count(end - page), first.is_writable)
                    }
                    None if access == Access::Read => (state.request_zero_frame(), 1, false),
                    _ => return Ok(None),
                }
            }
        };
        Ok(Some(Run {
            offset: page * PAGE_SIZE,
            frame,
            count,
            writable,
        }))
    }

    /// Makes the page with index `page` one that no other object has. Returns its new frame, or `None`
    /// if it is such a one already.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if the object does not have the page.
    /// - Fails with `NoMemory`.
    /// - Fails like [`PageFrame::share`].
    pub fn load(&self, page: usize) -> AxResult<Option<PhysAddr>> {
        let index = self.in_tree(&(page..page + 1))?.start;
        loop {
            let state = self.state.read();
            let source = match page < state.pages {
                true => state.page(index)?,
                false => return Err(AxError::InvalidInput),
            };
            drop(state);
            let source = match source {
                Page::Owned(_) => return Ok(None),
                Page::Shared(frame) => Some(frame),
                Page::Absent => None,
            };
            if source.is_some() {
                // A snapshot shares pages first, and write-protects them in mappings afterwards. If
                // it is between the two, a hart may still write to the page, and the copy could miss
                // that. Now no hart can, and none gets the right again while `source` exists.
                self.mappings.write_protect(page..page + 1);
            }
            let fresh = new_frame::<M>(source.as_ref())?;
            let frame = fresh.start();
            if self.publish(page, index, source.as_ref(), fresh)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Gives the page with index `page`, and `index` in the tree, the frame `fresh`, if its frame
    /// still is `source`, or it still has none. Returns whether it has. Unmaps the former frame.
    ///
    /// # Errors
    ///
    /// - Fails with `NoMemory`.
    /// - Fails like [`PageFrame::share`].
    #[inline(always)]
    fn publish(
        &self,
        page: usize,
        index: usize,
        source: Option<&PageFrame>,
        fresh: PageFrame,
    ) -> AxResult<bool> {
        let mut fresh = Some(fresh);
        let publish = |state: &mut State| state.publish(page, index, source, &mut fresh, None);
        let published = match self.state.with(publish)? {
            Publication::Short(need) => self.add_nodes(page, index, source, fresh, need)?,
            published => published,
        };
        Ok(match published {
            Publication::Done {
                former,
                may_be_mapped,
            } => {
                if may_be_mapped {
                    self.mappings.unmap(page..page + 1);
                }
                drop(former);
                true
            }
            Publication::Changed | Publication::Short(_) => false,
        })
    }

    /// Gives a page the frame `fresh`, as [`publish`](Self::publish) does, with new nodes on the path
    /// to it. Never returns `Short`.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish).
    #[cold]
    #[inline(never)]
    fn add_nodes(
        &self,
        page: usize,
        index: usize,
        source: Option<&PageFrame>,
        mut fresh: Option<PageFrame>,
        mut need: Need,
    ) -> AxResult<Publication> {
        let mut spares = Spares::default();
        loop {
            spares.fill(need)?;
            let with = Some(&mut spares);
            let publish = |state: &mut State| state.publish(page, index, source, &mut fresh, with);
            match self.state.with(publish)? {
                Publication::Short(more) => need = more,
                published => return Ok(published),
            }
        }
    }
}

/// A page that has a frame, and the pages behind it.
struct FoundPage<'a> {
    /// The frames of the leaf from this page on.
    pages: &'a [Option<PageFrame>],
    first: &'a PageFrame,
    is_path_owned: bool,
    /// Whether the page may be written, because no other object has it.
    is_writable: bool,
}

impl<'a> Found<'a> {
    /// Returns the page in `slot` of the leaf, or `None` if it has no frame.
    #[inline(always)]
    fn page(self, slot: usize) -> Option<FoundPage<'a>> {
        let pages = &self.leaf.frames[slot..];
        let first = pages.first()?.as_ref()?;
        Some(FoundPage {
            pages,
            first,
            is_path_owned: self.is_path_owned,
            is_writable: self.is_path_owned && !first.is_shared(),
        })
    }
}

impl FoundPage<'_> {
    #[inline(always)]
    fn frame(&self) -> PhysAddr {
        self.first.start()
    }

    /// Returns the number of pages, from this one on and at most `most`, that have contiguous frames
    /// and may be written or not as this one.
    #[inline(always)]
    fn count(&self, most: usize) -> usize {
        match most.min(self.pages.len()) {
            1 => 1,
            most => self.count_run(most),
        }
    }

    #[inline(never)]
    fn count_run(&self, most: usize) -> usize {
        let pages = &self.pages[..most];
        if !self.is_path_owned {
            return PageFrame::count_contiguous(pages);
        }
        if self.is_writable {
            return PageFrame::count_exclusive(pages);
        }
        let pages = &pages[..PageFrame::count_contiguous(pages)];
        let is_shared = |page: &&Option<PageFrame>| page.as_ref().is_some_and(PageFrame::is_shared);
        pages.iter().take_while(is_shared).count()
    }
}

impl State {
    /// Returns the zero frame, and records that it has been requested.
    fn request_zero_frame(&self) -> PhysAddr {
        // Relaxed: a writer comes after the readers of the state, and reads this then. Only the first
        // request writes, so that later readers share the cache line.
        if !self.maps_zero_frame.load(Ordering::Relaxed) {
            self.maps_zero_frame.store(true, Ordering::Relaxed);
        }
        zero_frame()
    }

    /// Gives the page with index `page`, and `index` in the tree, the frame `fresh`, if its frame still
    /// is `source`, or it still has none. Needs no `spares` if no node has to be allocated or copied.
    ///
    /// # Errors
    ///
    /// Fails like [`PageFrame::share`].
    #[inline(always)]
    fn publish(
        &mut self,
        page: usize,
        index: usize,
        source: Option<&PageFrame>,
        fresh: &mut Option<PageFrame>,
        spares: Option<&mut Spares>,
    ) -> AxResult<Publication> {
        let slot = index % FANOUT;
        let is_source = |page: &Option<PageFrame>| {
            page.as_ref().map(PageFrame::start) == source.map(PageFrame::start)
        };
        if page >= self.pages {
            return Ok(Publication::Changed);
        }
        let may_be_mapped = source.is_some() || *self.maps_zero_frame.get_mut();
        let place = match self.tree.owned_leaf_mut(index) {
            Some(leaf) if is_source(&leaf.frames[slot]) => &mut leaf.frames[slot],
            Some(_) => return Ok(Publication::Changed),
            None => {
                let found = self.tree.find(index);
                if !is_source(found.map_or(&None, |found| &found.leaf.frames[slot])) {
                    return Ok(Publication::Changed);
                }
                let need = self.tree.leaf_need(index, None);
                let Some(spares) = spares.filter(|spares| spares.suffice(need)) else {
                    return Ok(Publication::Short(need));
                };
                &mut self.tree.leaf_mut(index, spares)?.frames[slot]
            }
        };
        Ok(Publication::Done {
            former: mem::replace(place, fresh.take()),
            may_be_mapped,
        })
    }
}
