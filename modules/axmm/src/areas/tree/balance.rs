//! What keeps every leaf at the same depth and at least half full: splitting and
//! merging nodes.

use super::{Tree, Turn};
use crate::areas::inner::Inner;
use crate::areas::{Area, Backing};

impl<B: Backing> Tree<B> {
    /// Splits the leaf under the finger and inserts `area` at what was `position`.
    pub(super) fn split(&mut self, position: usize, area: Area<B>) {
        let Some(id) = self.finger.leaf else { return };
        self.shape.begin();
        let right_id = self.leaves.take();
        if let Some((left, right)) = self.leaves.get_both(id, right_id) {
            left.split(right, right_id);
            match position.checked_sub(left.len()) {
                Some(behind) if behind > 0 => right.insert(behind, area),
                _ => left.insert(position, area),
            };
        }
        self.grow(right_id);
        self.shape.end();
    }

    /// Adds `new`, split off from the leaf under the finger, to its parent, which
    /// may have to be split for that too, and so on.
    fn grow(&mut self, mut new: u32) {
        self.finger.leaf = None;
        for level in 0..self.depth {
            let Turn { inner: id, slot } = self.finger.turns[level];
            let (slot, inner) = (slot as usize + 1, self.inners.get_mut(id));
            if !inner.is_full() {
                inner.insert(slot, new);
                return self.refresh_from(level, id);
            }
            let right_id = self.inners.take();
            if let Some((left, right)) = self.inners.get_both(id, right_id) {
                left.split(right);
                match slot.checked_sub(left.len()) {
                    Some(behind) if behind > 0 => right.insert(behind, new),
                    _ => left.insert(slot, new),
                }
            }
            self.refresh_all(level, id);
            self.refresh_all(level, right_id);
            new = right_id;
        }
        if let Some(old) = self.root {
            let id = self.inners.take();
            let root = self.inners.get_mut(id);
            root.insert(0, old);
            root.insert(1, new);
            self.refresh_all(self.depth, id);
            self.root = Some(id);
            self.depth += 1;
        }
    }

    /// Makes the leaf under the finger, which has too few areas, one with a
    /// neighbour, or gives it some of the neighbour's; then its parent, if that
    /// has too few children now, and so on.
    pub(super) fn shrink(&mut self) {
        self.shape.begin();
        self.merge_up();
        self.shape.end();
    }

    fn merge_up(&mut self) {
        self.finger.leaf = None;
        for level in 0..self.depth {
            let Turn { inner: id, slot } = self.finger.turns[level];
            let inner = self.inners.get(id);
            let left = (slot as usize).min(inner.len().saturating_sub(2));
            let (a, b) = (inner.child(left), inner.child(left + 1));
            if !self.merge(level, a, b) {
                return self.refresh_from(level, id);
            }
            let inner = self.inners.get_mut(id);
            inner.remove(left + 1);
            if inner.len() >= Inner::FEWEST {
                return self.refresh_from(level, id);
            }
            self.refresh_all(level, id);
        }
        self.shrink_root();
    }

    fn shrink_root(&mut self) {
        let Some(root) = self.root else { return };
        if self.depth == 0 {
            self.leaves.give_back(root);
            self.root = None;
        } else if let &[only] = self.inners.get(root).children() {
            self.inners.give_back(root);
            self.root = Some(only);
            self.depth -= 1;
        }
    }

    /// Makes the neighbours `a` and `b`, which have `level` levels below them,
    /// one, or equally full. Answers whether they are one.
    fn merge(&mut self, level: usize, a: u32, b: u32) -> bool {
        if level == 0 {
            let both = self.leaves.get_both(a, b);
            let one = both.is_some_and(|(a, b)| a.merge(b));
            if one {
                self.leaves.give_back(b);
            }
            return one;
        }
        let both = self.inners.get_both(a, b);
        let one = both.is_some_and(|(a, b)| a.merge(b));
        if one {
            self.inners.give_back(b);
        } else {
            self.refresh_all(level - 1, b);
        }
        self.refresh_all(level - 1, a);
        one
    }

    /// Reads what is below the inner node `id`, which has leaves below it at
    /// `level` 0, and tells those above on the way to the finger.
    fn refresh_from(&mut self, level: usize, id: u32) {
        let old = self.inners.get(id).extent();
        self.refresh_all(level, id);
        let new = self.inners.get(id).extent();
        self.refresh(level + 1, old, new);
    }

    fn refresh_all(&mut self, level: usize, id: u32) {
        for slot in 0..self.inners.get(id).len() {
            let child = self.inners.get(id).child(slot);
            let extent = self.extent_of(level, child);
            self.inners.get_mut(id).learn(slot, extent);
        }
    }
}
