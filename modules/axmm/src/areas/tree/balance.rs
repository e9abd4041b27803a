//! What keeps every leaf at the same depth and at least half full: splitting and
//! merging nodes.

use super::{Tree, Turn};
use crate::areas::area::Packed;
use crate::areas::inner::Inner;
use crate::areas::{Area, Backing};

impl<B: Backing> Tree<B> {
    /// Splits the leaf under the finger and inserts `area` at what was `position`.
    pub(super) fn split(&self, position: usize, area: &Area<B>, backing: Packed) {
        let Some(id) = self.finger.leaf.get() else {
            return;
        };
        self.nodes.shape.begin();
        let right_id = self.nodes.leaves.take();
        let (left, right) = (self.nodes.leaves.get(id), self.nodes.leaves.get(right_id));
        left.split(right, right_id);
        match position.checked_sub(left.len()) {
            Some(behind) if behind > 0 => right.insert(behind, area, backing),
            _ => left.insert(position, area, backing),
        };
        self.grow(right_id);
        self.nodes.shape.end();
    }

    /// Adds `new`, split off from the leaf under the finger, to its parent, which
    /// may have to be split for that too, and so on.
    fn grow(&self, mut new: u32) {
        self.finger.leaf.set(None);
        for level in 0..self.depth() {
            let Turn { inner: id, slot } = self.finger.turns[level].get();
            let (slot, inner) = (slot as usize + 1, self.nodes.inners.get(id));
            if !inner.is_full() {
                inner.insert(slot, new);
                return self.refresh_from(level, id);
            }
            let right_id = self.nodes.inners.take();
            let right = self.nodes.inners.get(right_id);
            inner.split(right);
            match slot.checked_sub(inner.len()) {
                Some(behind) if behind > 0 => right.insert(behind, new),
                _ => inner.insert(slot, new),
            }
            self.refresh_all(level, id);
            self.refresh_all(level, right_id);
            new = right_id;
        }
        if let Some(old) = self.nodes.root.get() {
            let id = self.nodes.inners.take();
            let root = self.nodes.inners.get(id);
            root.insert(0, old);
            root.insert(1, new);
            self.refresh_all(self.depth(), id);
            self.nodes.root.set(Some(id));
            self.nodes.depth.set(self.depth() + 1);
        }
    }

    /// Makes the leaf under the finger, which has too few areas, one with a
    /// neighbour, or gives it some of the neighbour's; then its parent, if that
    /// has too few children now, and so on.
    pub(super) fn shrink(&self) {
        self.nodes.shape.begin();
        self.merge_up();
        self.nodes.shape.end();
    }

    fn merge_up(&self) {
        self.finger.leaf.set(None);
        for level in 0..self.depth() {
            let Turn { inner: id, slot } = self.finger.turns[level].get();
            let inner = self.nodes.inners.get(id);
            let left = (slot as usize).min(inner.len().saturating_sub(2));
            let (a, b) = (inner.child(left), inner.child(left + 1));
            if !self.merge(level, a, b) {
                return self.refresh_from(level, id);
            }
            let inner = self.nodes.inners.get(id);
            inner.remove(left + 1);
            if inner.len() >= Inner::FEWEST {
                return self.refresh_from(level, id);
            }
            self.refresh_all(level, id);
        }
        self.shrink_root();
    }

    fn shrink_root(&self) {
        let Some(root) = self.nodes.root.get() else {
            return;
        };
        if self.depth() == 0 {
            self.nodes.leaves.give_back(root);
            self.nodes.root.set(None);
        } else if self.nodes.inners.get(root).len() == 1 {
            let only = self.nodes.inners.get(root).child(0);
            self.nodes.inners.give_back(root);
            self.nodes.root.set(Some(only));
            self.nodes.depth.set(self.depth() - 1);
        }
    }

    /// Makes the neighbours `a` and `b`, which have `level` levels below them,
    /// one, or equally full. Returns whether they are one.
    fn merge(&self, level: usize, a: u32, b: u32) -> bool {
        if level == 0 {
            let leaves = &self.nodes.leaves;
            let one = leaves.get(a).merge(leaves.get(b));
            if one {
                leaves.give_back(b);
            }
            return one;
        }
        let inners = &self.nodes.inners;
        let one = inners.get(a).merge(inners.get(b));
        if one {
            inners.give_back(b);
        } else {
            self.refresh_all(level - 1, b);
        }
        self.refresh_all(level - 1, a);
        one
    }

    /// Reads what is below the inner node `id`, which has leaves below it at
    /// `level` 0, and tells those above on the way to the finger.
    fn refresh_from(&self, level: usize, id: u32) {
        let old = self.nodes.inners.get(id).extent();
        self.refresh_all(level, id);
        let new = self.nodes.inners.get(id).extent();
        self.refresh(level + 1, old, new);
    }

    fn refresh_all(&self, level: usize, id: u32) {
        for slot in 0..self.nodes.inners.get(id).len() {
            let child = self.nodes.inners.get(id).child(slot);
            let extent = self.nodes.extent_of(level, child);
            self.nodes.inners.get(id).learn(slot, extent);
        }
    }
}
