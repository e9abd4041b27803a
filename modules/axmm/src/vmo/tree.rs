//! The pages of an object: a persistent radix tree.
//!
//! ```text
//!   object A            object B, a snapshot of A
//!      │ 1 owner           │
//!      ▼                   ▼
//!   ┌─────┐             ┌─────┐
//!   │ A's │             │ B's │     B wrote to a page. So it has copied the nodes on the path
//!   └┬─┬─┬┘             └┬─┬─┬┘     to that page. The other children have two owners.
//!    │ │ └──────┐┌───────┘ │ │
//!    │ └──────┐ ││ ┌───────┘ │
//!    ▼        ▼ ▼▼ ▼         ▼
//!   leaf    leaf  leaf     leaf
//!    │ │     │ │   │ │      │ │
//!    ▼ ▼     ▼ ▼   ▼ ▼      ▼ ▼    frames, counted as well
//! ```
//!
//! A snapshot adds one reference to the root. A node with one owner is written in place. A node
//! with more owners is copied first, and only then does each child gain an owner. So a page
//! belongs to one object alone if and only if every node on the path to it and its frame have one
//! reference each ([`Tree::find`]).
//!
//! Invariants:
//!
//! - Every page lies in the range of its object. No node is empty. So what no object can see is
//!   freed at once.
//! - Only an owner of a node or frame adds owners. So a count of 1 stays 1 until this object
//!   shares.
//! - The height depends on the object's length alone.
//!
//! An operation first counts the nodes that it needs ([`Need`]). The caller allocates them
//! ([`Spares`]) without a lock. Then the operation cannot fail.

use core::mem;
use core::ops::Range;

use axerrno::{AxError, AxResult};

use super::node::{Child, FANOUT, FANOUT_BITS, Leaf, Node, NodeMut};
use super::spares::{Need, Spares};
use crate::machine::Machine;

/// The pages of an object, by their index.
pub struct Tree {
    root: Option<Child>,
    /// The number of levels of nodes, leaves included.
    height: u32,
}

/// The leaf of a page.
pub struct Found<'a> {
    pub leaf: &'a Leaf,
    /// Whether all nodes on the path to the page have one owner.
    pub is_path_owned: bool,
}

impl Tree {
    /// A tree without pages, with room for indices below `pages`.
    pub const fn new(pages: usize) -> Self {
        Self {
            root: None,
            height: height_for(pages),
        }
    }

    /// Returns a second owner of all pages.
    pub fn share(&self) -> Self {
        Self {
            root: self.root.as_ref().map(Child::share),
            height: self.height,
        }
    }

    /// Returns the leaf of page `index`, or `None` if there is none.
    pub fn find(&self, index: usize) -> Option<Found<'_>> {
        let mut child = self.root.as_ref()?;
        let mut level = self.height;
        let mut is_path_owned = true;
        loop {
            level -= 1;
            is_path_owned &= !child.is_shared();
            match child.node() {
                Node::Inner(inner) => child = inner.children[slot(index, level)].as_ref()?,
                Node::Leaf(leaf) => {
                    return Some(Found {
                        leaf,
                        is_path_owned,
                    });
                }
            }
        }
    }

    /// Returns the first index, from `from` on, whose leaf exists.
    pub fn next_leaf(&self, from: usize) -> Option<usize> {
        let root = self.root.as_ref()?;
        let reach = 1_usize << (FANOUT_BITS * self.height);
        (from < reach).then(|| next_leaf(root, self.height - 1, from))?
    }

    /// Returns how many nodes [`leaf_mut`](Self::leaf_mut) needs for page `index`. If `before` is
    /// a lower index whose nodes have been counted already, nodes of both are not counted again.
    pub fn leaf_need(&self, index: usize, before: Option<usize>) -> Need {
        let mut need = Need::default();
        let mut child = self.root.as_ref();
        let mut is_owned = true;
        for level in (0..self.height).rev() {
            is_owned &= child.is_some_and(|child| !child.is_shared());
            let span = FANOUT_BITS * (level + 1);
            let is_counted = before.is_some_and(|before| before >> span == index >> span);
            if !is_owned && !is_counted {
                need.add_node(level);
            }
            child = child.and_then(|child| match child.node() {
                Node::Inner(inner) => inner.children[slot(index, level)].as_ref(),
                Node::Leaf(_) => None,
            });
        }
        need
    }

    /// Returns the leaf of page `index` for writing. Nodes that are missing on the path to it
    /// become new ones, and shared ones are copied. The caller puts a page into the leaf.
    ///
    /// # Errors
    ///
    /// Fails if `spares` has less than [`leaf_need`](Self::leaf_need). The pages are unchanged.
    pub fn leaf_mut(&mut self, index: usize, spares: &mut Spares) -> AxResult<&mut Leaf> {
        let mut link = &mut self.root;
        for level in (1..self.height).rev() {
            match own(link, level, spares)? {
                NodeMut::Inner(inner) => link = &mut inner.children[slot(index, level)],
                NodeMut::Leaf(_) => return Err(AxError::BadState),
            }
        }
        match own(link, 0, spares)? {
            NodeMut::Leaf(leaf) => Ok(leaf),
            NodeMut::Inner(_) => Err(AxError::BadState),
        }
    }

    /// Returns how many nodes [`raise`](Self::raise) needs.
    pub fn raise_need(&self, pages: usize) -> Need {
        let levels = height_for(pages).saturating_sub(self.height);
        match self.root {
            Some(_) => Need::inner(levels as usize),
            None => Need::default(),
        }
    }

    /// Makes room for indices below `pages`.
    ///
    /// # Errors
    ///
    /// Fails if `spares` has less than [`raise_need`](Self::raise_need). The pages are unchanged.
    pub fn raise(&mut self, pages: usize, spares: &mut Spares) -> AxResult {
        while self.height < height_for(pages) {
            if self.root.is_some() {
                let mut above = spares.take_inner()?;
                let node = above.get_mut().ok_or(AxError::BadState)?;
                node.children[0] = self.root.take();
                self.root = Some(Child::inner(above));
            }
            self.height += 1;
        }
        Ok(())
    }

    /// Returns how many nodes [`take`](Self::take) needs.
    pub fn take_need(&self, pages: &Range<usize>) -> Need {
        let mut need = Need::default();
        if let Some(root) = &self.root {
            let place = Place::root(self.height);
            cut_need(root, place, pages, Some(true), &mut need);
        }
        need
    }

    /// Takes `pages` out, and returns them as a tree.
    ///
    /// # Errors
    ///
    /// Fails if `spares` has less than [`take_need`](Self::take_need). Nothing is changed if
    /// `spares` is empty.
    pub fn take(&mut self, pages: &Range<usize>, spares: &mut Spares) -> AxResult<Self> {
        let root = take(&mut self.root, Place::root(self.height), pages, spares)?;
        Ok(Self {
            root,
            height: self.height,
        })
    }

    /// Returns how many nodes [`share_range`](Self::share_range) needs.
    pub fn share_need(&self, pages: &Range<usize>) -> Need {
        let mut need = Need::default();
        if let Some(root) = &self.root {
            let place = Place::root(self.height);
            cut_need(root, place, pages, None, &mut need);
        }
        need
    }

    /// Returns a second owner of `pages`.
    ///
    /// # Errors
    ///
    /// Fails if `spares` has less than [`share_need`](Self::share_need).
    pub fn share_range(&self, pages: &Range<usize>, spares: &mut Spares) -> AxResult<Self> {
        let root = match &self.root {
            Some(root) => share(root, Place::root(self.height), pages, spares)?,
            None => None,
        };
        Ok(Self {
            root,
            height: self.height,
        })
    }

    /// Frees the pages that no other tree has, and polls after each leaf.
    pub fn free<M: Machine>(self) {
        if let Some(root) = self.root {
            free::<M>(root);
        }
    }
}

/// Returns the height of a tree with room for indices below `pages`.
const fn height_for(pages: usize) -> u32 {
    let mut height = 1;
    while pages.saturating_sub(1) >> (FANOUT_BITS * height) != 0 {
        height += 1;
    }
    height
}

/// Returns which child of a node at `level` leads to page `index`. Leaves have level 0.
fn slot(index: usize, level: u32) -> usize {
    (index >> (FANOUT_BITS * level)) % FANOUT
}

/// The pages below a node.
#[derive(Clone, Copy)]
struct Place {
    /// 0 for leaves.
    level: u32,
    /// The index of the first page.
    first: usize,
}

impl Place {
    const fn root(height: u32) -> Self {
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

/// Makes the node of `link` one with a single owner, and returns it.
fn own<'a>(link: &'a mut Option<Child>, level: u32, spares: &mut Spares) -> AxResult<NodeMut<'a>> {
    if link.as_ref().is_none_or(Child::is_shared) {
        let old = link.as_ref().map(Child::node);
        let copy = if level == 0 {
            let mut leaf = spares.take_leaf()?;
            if let (Some(Node::Leaf(old)), Some(leaf)) = (old, leaf.get_mut()) {
                leaf.share_from(old)?;
            }
            Child::leaf(leaf)
        } else {
            let mut inner = spares.take_inner()?;
            if let (Some(Node::Inner(old)), Some(inner)) = (old, inner.get_mut()) {
                inner.share_from(old);
            }
            Child::inner(inner)
        };
        *link = Some(copy);
    }
    let node = link.as_mut().and_then(Child::node_mut);
    node.ok_or(AxError::BadState)
}

fn next_leaf(child: &Child, level: u32, from: usize) -> Option<usize> {
    let Node::Inner(inner) = child.node() else {
        return Some(from);
    };
    let size = 1_usize << (FANOUT_BITS * level);
    let node_first = from & !(FANOUT * size - 1);
    for slot in slot(from, level)..FANOUT {
        let first = from.max(node_first + slot * size);
        let below = inner.children[slot].as_ref();
        let found = below.and_then(|below| next_leaf(below, level - 1, first));
        if found.is_some() {
            return found;
        }
    }
    None
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

/// Adds to `need` the nodes for cutting `pages` out of `child`: one for each node that has some
/// of them and other pages, and if the pages are taken out of the tree, one for the copy of each
/// of these nodes that is shared. `is_owned` says whether the nodes above have one owner, and is
/// `None` if the tree stays as it is.
fn cut_need(
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
fn take(
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

/// Returns a second owner of those of `pages` that `child` has, as a subtree.
fn share(
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

fn free<M: Machine>(mut child: Child) {
    match child.node_mut() {
        Some(NodeMut::Inner(inner)) => {
            for below in inner.children.iter_mut().filter_map(Option::take) {
                free::<M>(below);
            }
        }
        Some(NodeMut::Leaf(_)) => M::poll(),
        None => {}
    }
}
