//! Splits and merges. They keep every leaf at the same depth, and in every node but the root at
//! least `FEWEST` areas or children.

use core::ops::Range;

use super::Tree;
use crate::node::inner::Inner;
use crate::node::slot::Slot;

impl<S: Slot> Tree<S> {
    /// Splits the cursor's leaf, and inserts an area into the half in which `position` is then.
    pub(super) fn insert_with_split(&self, position: usize, range: &Range<usize>, value: S::Value) {
        let Some(id) = self.cursor.leaf.get() else {
            return;
        };
        self.nodes.shape.begin_write();
        let right_id = self.nodes.leaves.take();
        let (left, right) = (self.nodes.leaves.get(id), self.nodes.leaves.get(right_id));
        left.split(right, right_id);
        match position.checked_sub(left.len()) {
            Some(position) if position > 0 => right.insert(position, range, value),
            _ => left.insert(position, range, value),
        };
        self.add_child(right_id);
        self.nodes.shape.end_write();
    }

    /// Adds `new`, which was split off from the cursor's leaf, to its parent. The parent may
    /// have to be split for that as well, and so on.
    fn add_child(&self, mut new: u32) {
        self.cursor.leaf.set(None);
        for level in 0..self.depth() {
            let step = self.cursor.steps[level].get();
            let (slot, inner) = (step.slot as usize + 1, self.nodes.inners.get(step.inner));
            if !inner.is_full() {
                inner.insert(slot, new);
                return self.set_child_extents_and_update(level, step.inner);
            }
            let right_id = self.nodes.inners.take();
            let right = self.nodes.inners.get(right_id);
            inner.split(right);
            match slot.checked_sub(inner.len()) {
                Some(slot) if slot > 0 => right.insert(slot, new),
                _ => inner.insert(slot, new),
            }
            self.set_child_extents(level, step.inner);
            self.set_child_extents(level, right_id);
            new = right_id;
        }
        if let Some(old) = self.nodes.root.get() {
            let id = self.nodes.inners.take();
            let root = self.nodes.inners.get(id);
            root.insert(0, old);
            root.insert(1, new);
            self.set_child_extents(self.depth(), id);
            self.nodes.root.set(Some(id));
            self.nodes.depth.set(self.depth() + 1);
        }
    }

    /// Merges the cursor's leaf, which has too few areas, with a neighbour, or moves areas from
    /// the neighbour to it. Then does the same with its parent if that has too few children now,
    /// and so on.
    pub(super) fn fill_leaf(&self) {
        self.nodes.shape.begin_write();
        self.merge_upwards();
        self.nodes.shape.end_write();
    }

    fn merge_upwards(&self) {
        self.cursor.leaf.set(None);
        for level in 0..self.depth() {
            let step = self.cursor.steps[level].get();
            let inner = self.nodes.inners.get(step.inner);
            let left = (step.slot as usize).min(inner.len().saturating_sub(2));
            let (a, b) = (inner.child(left), inner.child(left + 1));
            if !self.merge(level, a, b) {
                return self.set_child_extents_and_update(level, step.inner);
            }
            let inner = self.nodes.inners.get(step.inner);
            inner.remove(left + 1);
            if inner.len() >= Inner::FEWEST {
                return self.set_child_extents_and_update(level, step.inner);
            }
            self.set_child_extents(level, step.inner);
        }
        self.shorten_root();
    }

    /// Removes a root that is a leaf without areas, or an inner node with one child.
    fn shorten_root(&self) {
        let Some(root) = self.nodes.root.get() else {
            return;
        };
        if self.depth() == 0 {
            self.nodes.leaves.free(root);
            self.nodes.root.set(None);
        } else if self.nodes.inners.get(root).len() == 1 {
            let only = self.nodes.inners.get(root).child(0);
            self.nodes.inners.free(root);
            self.nodes.root.set(Some(only));
            self.nodes.depth.set(self.depth() - 1);
        }
    }

    /// Merges the neighbours `a` and `b`, which have the height `height`, or makes them equally
    /// full. Returns whether they were merged.
    fn merge(&self, height: usize, a: u32, b: u32) -> bool {
        if height == 0 {
            let leaves = &self.nodes.leaves;
            let merged = leaves.get(a).merge(leaves.get(b));
            if merged {
                leaves.free(b);
            }
            return merged;
        }
        let inners = &self.nodes.inners;
        let merged = inners.get(a).merge(inners.get(b));
        if merged {
            inners.free(b);
        } else {
            self.set_child_extents(height - 1, b);
        }
        self.set_child_extents(height - 1, a);
        merged
    }

    /// Sets the extents of all children of the inner node `id` on `level`, and updates its
    /// ancestors on the cursor's path.
    fn set_child_extents_and_update(&self, level: usize, id: u32) {
        let old = self.nodes.inners.get(id).extent();
        self.set_child_extents(level, id);
        let new = self.nodes.inners.get(id).extent();
        self.update_ancestors(level + 1, old, new);
    }

    /// Sets the extents of all children of the inner node `id` on `level`.
    fn set_child_extents(&self, level: usize, id: u32) {
        for slot in 0..self.nodes.inners.get(id).len() {
            let child = self.nodes.inners.get(id).child(slot);
            let extent = self.nodes.extent_of(level, child);
            self.nodes.inners.get(id).set_child_extent(slot, extent);
        }
    }
}
