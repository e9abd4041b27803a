//! The tree: a B+ tree of areas, in which an inner node also knows gaps.
//!
//! ```text
//!   nodes.rs     the nodes, and lookup without a lock
//!   cursor.rs    the path to the leaf that was worked on last
//!   seek.rs      searching by address                 gaps.rs    searching a gap
//!   mod.rs       reserving, inserting, removing       balance.rs splits and merges
//! ```
//!
//! Inner nodes on level 0 are the parents of the leaves, and the root is on level `depth - 1`. A
//! node's height is the number of levels below it. So a leaf has height 0, an inner node on level
//! `n` has height `n + 1`, and its children have height `n`.
//!
//! Any thread may call `Nodes::peek` at any time. All functions that change the tree or move the
//! cursor need exclusive access. The others only need that no thread changes the tree meanwhile.

mod balance;
#[cfg(test)]
mod check;
mod cursor;
mod gaps;
mod nodes;
mod seek;

use core::cell::Cell;
use core::mem::needs_drop;
use core::ops::Range;

use crate::error::NoMemory;
use crate::node::extent::Extent;
use crate::node::leaf::Leaf;
use crate::node::slot::{Slot, WordSlot};
use crate::sync::const_unless_loom;
use cursor::Cursor;
pub use nodes::{LeafSnapshot, Nodes};

/// Areas in order. A tree without areas has no nodes in use.
pub struct Tree<S: Slot> {
    nodes: Nodes<S>,
    /// The number of areas for which nodes are kept free for later.
    reserved_ahead: Cell<usize>,
    cursor: Cursor,
}

impl<S: Slot> Tree<S> {
    const_unless_loom! {
        /// Returns a tree without areas.
        pub fn new() -> Self {
            Self {
                nodes: Nodes::new(),
                reserved_ahead: Cell::new(0),
                cursor: Cursor::new(),
            }
        }
    }

    /// Returns the nodes, which other threads may read.
    #[inline(always)]
    pub fn nodes(&self) -> &Nodes<S> {
        &self.nodes
    }

    /// Returns whether there are no areas.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nodes.root.get().is_none()
    }

    #[inline(always)]
    fn depth(&self) -> usize {
        self.nodes.depth.get()
    }
}

impl<S: Slot> Tree<S> {
    /// Makes sure that `count` areas can be inserted without allocating memory. Nodes for all
    /// areas that are [reserved ahead](Self::reserve_ahead) are still free afterwards.
    ///
    /// An insertion can split one node on every level, and add a root: `depth + 1` inner nodes. If
    /// one of the `count` areas adds a root, the tree has one level more for those that are reserved
    /// ahead. A second root would need hundreds of insertions, and few of them take an inner node.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails. Areas that were reserved before stay reserved.
    pub fn reserve(&self, count: usize) -> Result<(), NoMemory> {
        let (depth, ahead) = (self.depth(), self.reserved_ahead.get());
        self.nodes.leaves.reserve(count + ahead)?;
        let inners = count * (depth + 1) + ahead * (depth + 2);
        self.nodes.inners.reserve(inners)
    }

    /// Keeps nodes free for `count` areas until [`redeem`](Self::redeem). Areas that are reserved
    /// and inserted before that do not use them.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails. Nothing is reserved ahead then.
    pub fn reserve_ahead(&self, count: usize) -> Result<(), NoMemory> {
        self.reserved_ahead.set(self.reserved_ahead.get() + count);
        let reserved = self.reserve(0);
        if reserved.is_err() {
            self.redeem(count);
        }
        reserved
    }

    /// Lets the next insertions of `count` areas use what was reserved ahead for them.
    #[inline]
    pub fn redeem(&self, count: usize) {
        let ahead = self.reserved_ahead.get();
        self.reserved_ahead.set(ahead.saturating_sub(count));
    }

    /// Returns the cursor's leaf, to change it, and its extent before the change. Makes the
    /// cursor's position void, because the change may move areas in the leaf.
    #[inline]
    fn leaf_to_change(&self) -> Option<(&Leaf<S>, Extent)> {
        self.cursor.forget_position();
        let leaf = self.nodes.leaves.get(self.cursor.leaf.get()?);
        let extent = leaf.extent();
        Some((leaf, extent))
    }

    /// Lets the area at `position` in the cursor's leaf end at `end`, which is not above the
    /// start of the next area.
    pub fn set_end(&self, position: usize, end: usize) {
        if let Some((leaf, old)) = self.leaf_to_change()
            && leaf.set_end(position, end)
        {
            self.update_ancestors(0, old, leaf.extent());
        }
    }

    /// Lets the area at `position` in the cursor's leaf start at `start`, which is not below the
    /// end of the area before it.
    pub fn set_start(&self, position: usize, start: usize) {
        if let Some((leaf, old)) = self.leaf_to_change()
            && leaf.set_start(position, start)
        {
            self.update_ancestors(0, old, leaf.extent());
        }
    }

    /// Inserts an area at `position` in the cursor's leaf. Nodes for it are
    /// [reserved](Self::reserve).
    pub fn insert(&self, position: usize, range: &Range<usize>, value: S::Value) {
        if self.is_empty() {
            self.add_first_leaf();
        }
        let Some((leaf, old)) = self.leaf_to_change() else {
            return;
        };
        if leaf.is_full() {
            return self.insert_with_split(position, range, value);
        }
        if leaf.insert(position, range, value) {
            self.update_ancestors(0, old, leaf.extent());
        }
        // The next operation is mostly one on this area.
        self.cursor.remember(range.start, position);
    }

    /// Removes the area at `position` in the cursor's leaf. Returns what its slot owned, or `None`
    /// if there is no area.
    pub fn remove(&self, position: usize) -> Option<S::Removed> {
        let fewest = match self.depth() {
            0 => 1,
            _ => Leaf::<S>::FEWEST,
        };
        let (leaf, old) = self.leaf_to_change()?;
        let (removed, has_changed) = leaf.remove(position)?;
        if leaf.len() < fewest {
            self.fill_leaf();
        } else if has_changed {
            self.update_ancestors(0, old, leaf.extent());
        }
        Some(removed)
    }

    fn add_first_leaf(&self) {
        let id = self.nodes.leaves.take();
        self.nodes.shape.begin_write();
        self.nodes.root.set(Some(id));
        self.nodes.shape.end_write();
        self.cursor.leaf.set(Some(id));
    }

    /// Updates the inner nodes on the cursor's path, from `lowest_level` up. The extent of the
    /// node below them was `old` and is `new`.
    fn update_ancestors(&self, lowest_level: usize, mut old: Extent, mut new: Extent) {
        let inners = self.nodes.inners.all();
        for level in lowest_level..self.depth() {
            let step = self.cursor.steps[level].get();
            let (id, slot) = (step.inner, step.slot as usize);
            if (old.start, old.gap) == (new.start, new.gap) {
                if old.end == new.end {
                    break;
                }
                // The end alone has changed. If the child is the last one, its end is also that
                // of this node, and again the end alone has changed.
                let inner = inners.get(id);
                if inner.is_last(slot) {
                    inner.set_end(new.end);
                    continue;
                }
            }
            // A new end also changes the gap before the next child.
            let next = match old.end == new.end {
                true => None,
                false => inners.get(id).next(slot),
            };
            let next = next.map(|next| self.nodes.extent_of(level, next));
            let inner = inners.get(id);
            let before = inner.extent();
            inner.update(slot, old, new, next);
            (old, new) = (before, inner.extent());
        }
    }
}

impl<S: Slot> Drop for Tree<S> {
    fn drop(&mut self) {
        if needs_drop::<S::Removed>() {
            for area in self.iter_from(0) {
                // SAFETY: `&mut self` is exclusive access. The slot is occupied, each is visited
                // once, and the tree is not used afterwards.
                drop(unsafe { area.slot().take() });
            }
        }
    }
}

impl Tree<WordSlot> {
    /// Replaces the flags of the area at `position` in the cursor's leaf by `word`.
    #[inline]
    pub fn set_flags_word(&self, position: usize, word: usize) {
        if let Some(leaf) = self.cursor.leaf.get() {
            self.nodes.leaves.get(leaf).set_flags_word(position, word);
        }
    }
}
