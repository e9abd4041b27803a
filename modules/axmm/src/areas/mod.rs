//! The areas of an address space and the gaps between them, in order.
//!
//! An area is a range of addresses with one set of rights and one way of getting
//! frames. Areas do not overlap, and neighbours that could be one area are one.
//!
//! ```text
//!   Areas      cuts, joins, gaps that fit                              mod.rs
//!     Tree     a B+ tree: down by address, up the same way               tree/
//!       Inner  up to 32 children: where each ends, its largest gap     inner.rs
//!       Leaf   up to 15 areas, their order in one word      leaf.rs, order.rs
//!       Entry  one of them, where it is kept                entry.rs, area.rs
//!       Pool   nodes by number, and a stock of fresh ones              pool.rs
//! ```
//!
//! With `n` areas the tree has at most `1 + log16(n / 7)` levels of inner nodes.
//! Finding, adding and removing an area visit one node on each, and none above the
//! leaf while work goes on where it was last: the tree remembers the way there.
//! A gap that fits is found by the largest gap below each child, in two visits to
//! each level at most. Only where an alignment above the page is asked for can
//! gaps be large enough and still not fit: each of those is visited, too, but none
//! of `size + align` bytes or more can be.
//!
//! Room for what an operation adds is asked for before it changes anything, so
//! that it cannot fail half way for lack of memory. That is why this is not
//! `alloc`'s `BTreeMap`, nor `memory_set` 0.4, `rangemap` and others that keep one:
//! its insertion cannot report that memory has run out. `sweep-bptree` 0.4 can keep
//! the largest gap in its nodes, but aborts for lack of memory, too.
//!
//! # Reading without waiting
//!
//! One hart at a time changes the areas; any other may look for one meanwhile
//! ([`SharedAreas::peek`]) without a lock, and without writing anything. A node never
//! moves, and its memory stays a node's as long as the areas exist. All that is in a node
//! is [words](word::Word), which are atomics: a read beside a write is no data race. Each
//! leaf has a [version](version::Version), and so has the tree's shape, which changes when
//! nodes come or go. A reader copies the words of the area that it has found, and uses
//! them only if neither version has changed meanwhile. So it looks again only if that very
//! leaf, or the shape, was written. That there is no area is certain only for the hart
//! with the lock.
//!
//! Since an area is copied before it is known to be whole, and may be unmapped as soon as
//! it is, it owns nothing: [`Backing`] is `Copy`.

mod area;
mod entry;
mod inner;
mod leaf;
mod order;
mod pool;
#[cfg(test)]
mod tests;
mod tree;
mod version;
mod word;

use core::fmt;
use core::ops::Range;

use axerrno::{AxError, AxResult};
use page_table_multiarch::MappingFlags;

pub use area::{Area, Backing};
pub use entry::Entry;
use tree::Tree;
pub use tree::{Nodes, Promise, Sight};

/// A page-aligned range of addresses.
pub type Span = Range<usize>;

/// What is known of a row of areas without looking at them: where the first
/// starts, where the last ends, and the largest gap between two.
#[derive(Clone, Copy, PartialEq)]
struct Extent {
    start: usize,
    end: usize,
    gap: usize,
}

impl Extent {
    const EMPTY: Self = Self {
        start: 0,
        end: 0,
        gap: 0,
    };
}

/// All areas of an address space.
pub struct Areas<B> {
    tree: Tree<B>,
}

impl<B: Backing> Areas<B> {
    /// None.
    pub fn empty() -> Self {
        Self { tree: Tree::new() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_, B>> {
        self.iter_from(0)
    }

    /// The area that `addr` lies in, and all behind it, in order.
    pub fn iter_from(&self, addr: usize) -> impl Iterator<Item = Entry<'_, B>> {
        self.tree.iter_from(addr)
    }

    /// The area that `addr` lies in.
    pub fn find(&self, addr: usize) -> Option<Entry<'_, B>> {
        let area = self.tree.iter_from(addr).next()?;
        (area.start() <= addr).then_some(area)
    }

    /// What other harts may look at meanwhile.
    pub fn nodes(&self) -> &Nodes<B> {
        self.tree.nodes()
    }

    /// What lies free around `span`, the first and the last address: from the end of the
    /// area before it to the start of the one behind; no more than `span` at an end that
    /// lies inside an area.
    pub fn room_around(&self, span: &Span) -> (usize, usize) {
        let position = self.tree.seek(span.start);
        let first = self.tree.at_or_behind(position);
        let low = match first.is_some_and(|area| area.start() < span.start) {
            true => span.start,
            false => self.tree.end_before(position).unwrap_or(0),
        };
        let behind = self.tree.iter_from(span.end).next();
        let last = behind.map_or(usize::MAX, |area| area.start().max(span.end) - 1);
        (low, last)
    }

    /// Keeps room for `count` more areas for later, whatever others do until
    /// [`keep`](Self::keep).
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing is promised.
    pub fn promise(&self, count: usize) -> AxResult<Promise> {
        self.tree.promise(count)
    }

    /// Makes room that was promised everybody's again: who has been promised it inserts
    /// next.
    pub fn keep(&self, promise: Promise) {
        self.tree.keep(promise);
    }

    /// The areas that overlap `span`, in order.
    pub fn overlapping<'a>(
        &'a self,
        span: &Span,
    ) -> impl Iterator<Item = Entry<'a, B>> + use<'a, B> {
        let end = span.end;
        let areas = self.tree.iter_from(span.start);
        areas.take_while(move |area| area.start() < end)
    }

    /// Whether no area lies on both sides of an end of `span`.
    pub fn holds_whole(&self, span: &Span) -> bool {
        let mut areas = self.overlapping(span).map(|area| area.span());
        areas.all(|area| span.start <= area.start && area.end <= span.end)
    }

    /// Whether every address of `span` is in an area.
    pub fn cover(&self, span: &Span) -> bool {
        self.cover_with(span, |_| true)
    }

    /// Whether every address of `span` is in an area that is as `test` wants it.
    pub fn cover_with(&self, span: &Span, test: impl Fn(&Entry<B>) -> bool) -> bool {
        let mut reached = span.start;
        for area in self.overlapping(span) {
            if area.start() > reached || !test(&area) {
                return false;
            }
            reached = area.end();
        }
        reached >= span.end
    }

    /// The lowest start of `size` bytes, at least one, without an area, aligned to
    /// `align`, not below `hint`, that end within `limit`.
    #[inline(always)]
    pub fn find_free(&self, hint: usize, size: usize, limit: &Span, align: usize) -> Option<usize> {
        let size = size.max(1);
        let mut from = hint.max(limit.start);
        loop {
            let gap = self.gap(from, size)?;
            let start = gap.start.max(from).checked_next_multiple_of(align)?;
            let end = start.checked_add(size)?;
            if end > limit.end {
                return None;
            }
            if end <= gap.end {
                return Some(start);
            }
            from = gap.end;
        }
    }

    /// The first gap of `size` bytes that ends above `addr`, those before the first
    /// area and behind the last included.
    fn gap(&self, addr: usize, size: usize) -> Option<Span> {
        let Some(all) = self.tree.extent() else {
            return Some(0..usize::MAX);
        };
        if addr < all.start && size <= all.start {
            return Some(0..all.start);
        }
        let between = match addr < all.end && size <= all.gap {
            true => self.tree.gap(addr, size),
            false => None,
        };
        between.or(Some(all.end..usize::MAX))
    }

    /// Makes sure that `count` areas can be added without asking for memory.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn reserve(&self, count: usize) -> AxResult {
        match count {
            0 => Ok(()),
            _ => self.tree.reserve(count),
        }
    }

    /// Makes sure that an area can be added at `span` without asking for memory.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is an area in `span`; `NoMemory`.
    pub fn reserve_insert(&self, span: &Span) -> AxResult {
        let position = self.tree.seek(span.start);
        let next = self.tree.at(position);
        if next.is_some_and(|area| area.start() < span.end) {
            return Err(AxError::AlreadyExists);
        }
        self.reserve(1)
    }

    /// Makes sure that `span` can be cut out of the areas without asking for
    /// memory: one more for each of its ends that lies inside an area.
    ///
    /// # Errors
    ///
    /// `NoMemory`; never where no area is cut.
    pub fn reserve_cuts(&self, span: &Span) -> AxResult {
        let position = self.tree.seek(span.start);
        let Some(first) = self.tree.at(position) else {
            return Ok(());
        };
        let inside = |area: &Entry<B>, addr| area.start() < addr && addr < area.end();
        let cut_at_end = match first.end() < span.end {
            true => self
                .find(span.end)
                .is_some_and(|last| inside(&last, span.end)),
            false => inside(&first, span.end),
        };
        self.reserve(usize::from(inside(&first, span.start)) + usize::from(cut_at_end))
    }

    /// Adds an area where there is none. Room has been [reserved](Self::reserve).
    pub fn insert(&self, area: Area<B>) {
        let Span { start, end } = area.span();
        let position = self.tree.seek(start);
        let next = self.tree.at_or_behind(position);
        let joins_next = next.is_some_and(|next| meets(&area, &next));
        let before = position.checked_sub(1);
        let left = before.and_then(|before| self.tree.at(before));
        let joins = |left: &Entry<B>| left.end() == start && left.area().continues(&area);
        if let Some(before) = before.filter(|_| left.as_ref().is_some_and(joins)) {
            self.tree.set_end(before, end);
        } else {
            let joins_leaf = before.is_none()
                && self.tree.end_before_finger() == Some(start)
                && self.find(start - 1).as_ref().is_some_and(joins);
            self.tree.insert(position, &area);
            if joins_leaf {
                self.join_at(start);
            }
        }
        if joins_next {
            self.join_at(end);
        }
    }

    /// Takes `span` out of at most `most` of the areas that it overlaps, in order. Returns
    /// whether none is left. Room for the cuts has been [reserved](Self::reserve_cuts).
    pub fn remove(&self, span: &Span, most: usize) -> bool {
        for _ in 0..most {
            let position = self.tree.seek(span.start);
            let Some(area) = self.tree.at(position) else {
                return true;
            };
            let Span { start, end } = area.span();
            if start >= span.end {
                return true;
            }
            let right = (span.end < end).then(|| area.area().part(&(span.end..end)));
            match (start < span.start, right) {
                (false, None) => self.tree.remove(position),
                (false, Some(right)) => self.tree.replace(position, &right),
                (true, right) => {
                    self.tree.set_end(position, span.start);
                    if let Some(right) = right {
                        self.tree.insert(position + 1, &right);
                    }
                }
            }
            if span.end <= end {
                return true;
            }
        }
        false
    }

    /// Makes both ends of `span` boundaries between areas. Room has been
    /// [reserved](Self::reserve_cuts).
    pub fn cut(&self, span: &Span) {
        self.cut_at(span.start);
        self.cut_at(span.end);
    }

    /// Gives at most `most` areas from `span.start` on, which is a boundary as `span.end` is,
    /// the rights `flags`. Neighbours that can be one area then are. Returns where to go on.
    pub fn set_flags(&self, span: &Span, flags: MappingFlags, most: usize) -> Option<usize> {
        let mut reached = span.start;
        for _ in 0..most {
            let position = self.tree.seek(reached);
            let inside = self.tree.at(position).map(|area| area.span());
            let Some(area) = inside.filter(|area| area.start < span.end) else {
                self.join_at(reached);
                return None;
            };
            reached = area.end;
            self.tree.set_flags(position, flags);
            self.join_at(area.start);
        }
        Some(reached)
    }

    /// Makes `addr` a boundary between two areas if it lies inside one.
    fn cut_at(&self, addr: usize) {
        let position = self.tree.seek(addr);
        if let Some(area) = self.tree.at(position)
            && area.start() < addr
        {
            let right = area.area().part(&(addr..area.end()));
            self.tree.set_end(position, addr);
            self.tree.insert(position + 1, &right);
        }
    }

    /// Makes the areas before and behind `addr` one, if they can be.
    fn join_at(&self, addr: usize) {
        let left = self.tree.seek(addr.saturating_sub(1));
        let pair = self.tree.at(left).zip(self.tree.at_or_behind(left + 1));
        let joins =
            |(left, right): &(Entry<B>, Entry<B>)| left.end() == addr && meets(&left.area(), right);
        let Some((_, right)) = pair.filter(joins) else {
            return;
        };
        let end = right.end();
        let right = self.tree.seek(addr);
        self.tree.remove(right);
        let left = self.tree.seek(addr.saturating_sub(1));
        self.tree.set_end(left, end);
    }
}

/// Whether `area` and `next` can be one. Most do not even touch.
fn meets<B: Backing>(area: &Area<B>, next: &Entry<B>) -> bool {
    next.start() == area.end && area.continues(&next.area())
}

/// Areas that any hart may look at while one changes them.
pub struct SharedAreas<B>(Areas<B>);

// SAFETY: `peek` uses the nodes alone, which are `Sync`; who gets at anything else
// promises by `locked` that no other thread does.
unsafe impl<B: Send + Sync> Sync for SharedAreas<B> {}

impl<B: Backing> SharedAreas<B> {
    /// None.
    pub fn empty() -> Self {
        Self(Areas::empty())
    }

    /// The area that `addr` lies in, and where it has been seen. Takes no lock and waits
    /// for nothing. `None` says nothing for certain: the area may have been changed
    /// meanwhile.
    #[inline(always)]
    pub fn peek(&self, addr: usize) -> Option<(Area<B>, Sight<B>)> {
        self.0.nodes().peek(addr)
    }

    /// The areas, to look at for certain and to change.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of these areas as long as it uses the reference: no other
    /// thread uses one meanwhile, and all that an earlier one did happened before.
    #[inline(always)]
    pub unsafe fn locked(&self) -> &Areas<B> {
        &self.0
    }
}

impl<B: Backing + fmt::Debug> fmt::Debug for Areas<B> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|area| area.area()))
            .finish()
    }
}
