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
//! with more owners is copied before it is written, and the copy is another owner of each child. So
//! a page belongs to one object alone if and only if every node on the path to it and its frame have
//! one reference each ([`Tree::find`]).
//!
//! Invariants:
//!
//! - Every page lies in the range of its object. No node is empty. So what no object can see is
//!   freed at once.
//! - Only an owner of a node or frame adds owners. So a count of 1 stays 1 until this object
//!   shares.
//! - The height is that of a tree for the object's greatest length so far. So adding a page never
//!   makes the tree higher. An object without pages has no node. A snapshot has the height of its
//!   original, also if it has only some of the pages.
//!
//! An operation first counts the nodes that it needs ([`Need`]). The caller allocates them
//! ([`Spares`]) without a lock. Then the operation can only fail if a frame cannot have another
//! owner, because it has 2^31.

mod cut;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use core::ops::Range;

use axerrno::{AxError, AxResult};

use self::cut::{Place, cut_need};
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
    /// Whether the leaf and all nodes above it have one owner each. The frame of the page may still
    /// have others.
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

    /// Returns a tree with the same pages, which are shared from now on.
    pub fn share(&self) -> Self {
        Self {
            root: self.root.as_ref().map(Child::share),
            height: self.height,
        }
    }

    /// Returns the leaf of page `index`, or `None` if there is none.
    #[inline(always)]
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

    /// Returns the leaf of page `index` for writing, if it exists and every node on the path to it
    /// has one owner.
    #[inline(always)]
    pub fn owned_leaf_mut(&mut self, index: usize) -> Option<&mut Leaf> {
        let mut child = self.root.as_mut()?;
        let mut level = self.height;
        loop {
            level -= 1;
            match child.node_mut()? {
                NodeMut::Inner(inner) => child = inner.children[slot(index, level)].as_mut()?,
                NodeMut::Leaf(leaf) => return Some(leaf),
            }
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
    /// - Fails with `NoMemory` if `spares` has less than [`take_need`](Self::take_need).
    /// - Fails like [`PageFrame::share_all`](super::page_frame::PageFrame::share_all).
    ///
    /// An error loses pages that were taken before it. So the caller provides
    /// [`take_need`](Self::take_need) nodes. A frame with too many owners can still cause it.
    pub fn take(&mut self, pages: &Range<usize>, spares: &mut Spares) -> AxResult<Self> {
        let root = cut::take(&mut self.root, Place::root(self.height), pages, spares)?;
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

    /// Returns a tree with `pages`, which are shared from now on.
    ///
    /// # Errors
    ///
    /// - Fails with `NoMemory` if `spares` has less than [`share_need`](Self::share_need).
    /// - Fails like [`PageFrame::share`](super::page_frame::PageFrame::share).
    pub fn share_range(&self, pages: &Range<usize>, spares: &mut Spares) -> AxResult<Self> {
        let root = match &self.root {
            Some(root) => cut::share(root, Place::root(self.height), pages, spares)?,
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

/// Makes `link` lead to a node at `level` that has no other owner, and returns the node. A missing
/// node becomes a new one, and a shared one is copied.
///
/// # Errors
///
/// Fails with `NoMemory` if a node is needed and `spares` has none. Fails like [`Leaf::share_from`].
/// `link` is unchanged then.
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

/// Returns the first index, from `from` on, whose leaf exists below the node `child` at `level`. One of
/// the indices below that node is `from`.
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

/// Frees what no other tree has of the subtree `child`, and polls after each leaf.
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
