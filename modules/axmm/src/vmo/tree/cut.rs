//! Cutting a range of pages out of a tree: taking them out, or sharing them.
//!
//! A node whose pages all lie in the range moves or is shared as a whole. Only the nodes at the two
//! ends of the range have other pages, too. Each of them is split: a new node on the same place of
//! a new tree gets the children or frames that lie in the range.
//!
//! ```text
//!        before                 pages taken out          pages left
//!         ┌───┐                      ┌───┐                 ┌───┐
//!         └┬┬┬┘                      └┬┬┬┘                 └┬─┬┘
//!      ┌───┘│└───┐                ┌───┘│└───┐           ┌───┘ └───┐
//!    leaf leaf leaf             leaf leaf leaf        leaf      leaf
//!    ####  ####  ####             ##  ####  #         ##          ###
//!      └── range ──┘
//! ```

use core::mem;
use core::ops::Range;

use axerrno::{AxError, AxResult};

use super::own;
use crate::vmo::node::{Child, FANOUT, FANOUT_BITS, Node, NodeMut};
use crate::vmo::spares::{Need, Spares};

/// The pages below a node.
#[derive(Clone, Copy)]
pub struct Place {
    /// 0 for leaves.
    level: u32,
    /// The index of the first page.
    first: usize,
}

impl Place {
    /// The place of the root of a tree.
    pub const fn root(height: u32) -> Self {
        Self {
            level: height - 1,
            first: 0,
        }
    }

    /// Returns the number of pages below each child.
    fn child_pages(self) -> usize {
        1 << (FANOUT_BITS * self.level)
    }

    fn child(self, slot: usize) -> Self {
        Self {
            level: self.level.saturating_sub(1),
            first: self.first + slot * self.child_pages(),
        }
    }

    fn is_within(self, pages: &Range<usize>) -> bool {
        let end = self.first + FANOUT * self.child_pages();
        pages.start <= self.first && end <= pages.end
    }

    /// Returns the children that have pages of `pages`.
    fn slots(self, pages: &Range<usize>) -> Range<usize> {
        let within = |index: usize| index.saturating_sub(self.first);
        let first = within(pages.start) / self.child_pages();
        let end = within(pages.end).div_ceil(self.child_pages());
        first.min(FANOUT)..end.min(FANOUT)
    }
}

/// Returns whether `child` has any of `pages`.
fn has_any(child: &Child, place: Place, pages: &Range<usize>) -> bool {
    if place.is_within(pages) {
        return true;
    }
    let mut slots = place.slots(pages);
    match child.node() {
        Node::Leaf(leaf) => leaf.frames[slots].iter().any(Option::is_some),
        Node::Inner(inner) => slots.any(|slot| {
            let below = inner.children[slot].as_ref();
            below.is_some_and(|below| has_any(below, place.child(slot), pages))
        }),
    }
}

/// Adds to `need` the nodes for cutting `pages` out of `child`. A node is cut if it has some of
/// `pages` and may have other pages. Each cut node needs a new node for its part of `pages`. If the
/// pages are taken out, a cut node that other trees share is also copied, and needs a second one.
///
/// `is_owned` says whether all nodes above have one owner. It is `None` if pages are only shared, so
/// that the tree stays as it is.
pub fn cut_need(
    child: &Child,
    place: Place,
    pages: &Range<usize>,
    is_owned: Option<bool>,
    need: &mut Need,
) {
    if place.is_within(pages) || !has_any(child, place, pages) {
        return;
    }
    let is_owned = is_owned.map(|is_owned| is_owned && !child.is_shared());
    need.add_node(place.level);
    if is_owned == Some(false) {
        need.add_node(place.level);
    }
    if let Node::Inner(inner) = child.node() {
        for slot in place.slots(pages) {
            if let Some(below) = &inner.children[slot] {
                cut_need(below, place.child(slot), pages, is_owned, need);
            }
        }
    }
}

/// Takes `pages` out of the subtree of `link`, and returns them as a subtree.
///
/// # Errors
///
/// Fails like [`Tree::take`](super::Tree::take).
pub fn take(
    link: &mut Option<Child>,
    place: Place,
    pages: &Range<usize>,
    spares: &mut Spares,
) -> AxResult<Option<Child>> {
    let has_any = |child: &Child| has_any(child, place, pages);
    if place.is_within(pages) || !link.as_ref().is_some_and(has_any) {
        let all = place.is_within(pages).then(|| link.take());
        return Ok(all.flatten());
    }
    let (taken, is_empty) = match own(link, place.level, spares)? {
        NodeMut::Leaf(leaf) => {
            let mut taken = spares.take_leaf()?;
            let into = taken.get_mut().ok_or(AxError::BadState)?;
            let slots = place.slots(pages);
            for (from, to) in leaf.frames[slots.clone()]
                .iter_mut()
                .zip(&mut into.frames[slots])
            {
                mem::swap(from, to);
            }
            (Child::leaf(taken), leaf.is_empty())
        }
        NodeMut::Inner(inner) => {
            let mut taken = spares.take_inner()?;
            let into = taken.get_mut().ok_or(AxError::BadState)?;
            for slot in place.slots(pages) {
                let below = &mut inner.children[slot];
                into.children[slot] = take(below, place.child(slot), pages, spares)?;
            }
            (Child::inner(taken), inner.is_empty())
        }
    };
    if is_empty {
        *link = None;
    }
    Ok(Some(taken))
}

/// Returns those of `pages` that `child` has as a subtree. They are shared from now on.
///
/// # Errors
///
/// Fails like [`Tree::share_range`](super::Tree::share_range).
pub fn share(
    child: &Child,
    place: Place,
    pages: &Range<usize>,
    spares: &mut Spares,
) -> AxResult<Option<Child>> {
    if place.is_within(pages) {
        return Ok(Some(child.share()));
    }
    if !has_any(child, place, pages) {
        return Ok(None);
    }
    Ok(Some(match child.node() {
        Node::Leaf(leaf) => {
            let mut copy = spares.take_leaf()?;
            let into = copy.get_mut().ok_or(AxError::BadState)?;
            for slot in place.slots(pages) {
                let frame = leaf.frames[slot].as_ref();
                into.frames[slot] = frame.map(|frame| frame.share()).transpose()?;
            }
            Child::leaf(copy)
        }
        Node::Inner(inner) => {
            let mut copy = spares.take_inner()?;
            let into = copy.get_mut().ok_or(AxError::BadState)?;
            for slot in place.slots(pages) {
                if let Some(below) = &inner.children[slot] {
                    into.children[slot] = share(below, place.child(slot), pages, spares)?;
                }
            }
            Child::inner(copy)
        }
    }))
}
