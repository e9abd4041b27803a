//! Searching by address, from the root or from the cursor.

use core::cell::Cell;

use super::Tree;
use super::cursor::Step;
use super::nodes::below_the_highest;
use crate::node::leaf::{Leaf, SlotRef};
use crate::node::slot::Slot;

impl<S: Slot> Tree<S> {
    /// Returns each area that ends above `addr`, in order. Does not move the cursor.
    #[inline]
    pub fn iter_from(&self, addr: usize) -> Iter<'_, S> {
        let addr = below_the_highest(addr);
        let leaf = self.leaf_at(addr);
        Iter {
            tree: self,
            position: match leaf {
                Some(_) if self.cursor.sought.get() == addr => self.cursor.position.get(),
                Some(leaf) => leaf.search(addr),
                None => 0,
            },
            leaf,
        }
    }

    /// Returns the leaf of the first area that ends above `addr`, or the last leaf.
    #[inline]
    fn leaf_at(&self, addr: usize) -> Option<&Leaf<S>> {
        let mut id = self.nodes.root.get()?;
        if let Some(leaf) = self.cursor_leaf_with(addr) {
            return Some(self.nodes.leaves.get(leaf));
        }
        let inners = self.nodes.inners.all();
        for _ in 0..self.depth() {
            let inner = inners.get(id);
            id = inner.child(inner.search(addr));
        }
        Some(self.nodes.leaves.get(id))
    }

    /// Moves the cursor to the leaf of the first area that ends above `addr`, or to the last
    /// leaf. Returns the area's position there, or the number of areas in the last leaf.
    #[inline(always)]
    pub fn seek(&self, addr: usize) -> usize {
        let addr = below_the_highest(addr);
        match self.cursor.sought.get() == addr {
            true => self.cursor.position.get(),
            false => self.search(addr),
        }
    }

    /// Does the work of [`seek`](Self::seek) where the cursor is not at `addr` yet.
    #[inline(never)]
    fn search(&self, addr: usize) -> usize {
        let Some(root) = self.nodes.root.get() else {
            return 0;
        };
        let cursor_leaf = self.cursor_leaf_with(addr).or_else(|| {
            let leaf = self.cursor.leaf.get();
            leaf.filter(|_| self.is_in_gap_before_cursor(addr))
        });
        let leaf = match cursor_leaf {
            Some(leaf) => leaf,
            None => self.descend(root, addr),
        };
        let position = self.nodes.leaves.get(leaf).search(addr);
        self.cursor.remember(addr, position);
        position
    }

    /// Moves the cursor to the leaf at which a search for `addr` from `root` ends, and returns it.
    fn descend(&self, root: u32, addr: usize) -> u32 {
        let mut id = root;
        let inners = self.nodes.inners.all();
        for step in self.cursor.steps[..self.depth()].iter().rev() {
            let inner = inners.get(id);
            let slot = inner.search(addr);
            step.set(Step {
                inner: id,
                slot: slot as u32,
            });
            id = inner.child(slot);
        }
        self.cursor.leaf.set(Some(id));
        id
    }

    /// Returns the cursor's leaf, if a look at that leaf alone shows that a search for `addr` ends
    /// there.
    #[inline]
    fn cursor_leaf_with(&self, addr: usize) -> Option<u32> {
        let id = self.cursor.leaf.get()?;
        if self.cursor.sought.get() == addr {
            return Some(id);
        }
        let leaf = self.nodes.leaves.get(id);
        let inside = leaf.start() <= addr && (addr < leaf.end() || leaf.next().is_none());
        inside.then_some(id)
    }

    /// Returns whether `addr` is in the gap between the cursor's leaf and the leaf before it.
    fn is_in_gap_before_cursor(&self, addr: usize) -> bool {
        let leaf = self.cursor.leaf.get().map(|id| self.nodes.leaves.get(id));
        leaf.is_some_and(|leaf| addr < leaf.start())
            && self.end_before_cursor().is_some_and(|end| end <= addr)
    }

    /// Returns where the leaf before the cursor's leaf ends.
    pub fn end_before_cursor(&self) -> Option<usize> {
        let mut steps = self.cursor.steps[..self.depth()].iter().map(Cell::get);
        let step = steps.find(|step| step.slot > 0)?;
        self.nodes
            .inners
            .get(step.inner)
            .end_before(step.slot as usize)
    }

    /// Returns the area at `position` in the cursor's leaf.
    #[inline]
    pub fn at(&self, position: usize) -> Option<SlotRef<'_, S>> {
        self.nodes.leaves.get(self.cursor.leaf.get()?).get(position)
    }

    /// Returns the area at `position` in the cursor's leaf, or the first area of the next leaf.
    #[inline]
    pub fn at_or_next(&self, position: usize) -> Option<SlotRef<'_, S>> {
        let leaf = self.nodes.leaves.get(self.cursor.leaf.get()?);
        match leaf.get(position) {
            None => self.nodes.leaves.get(leaf.next()?).get(0),
            some => some,
        }
    }

    /// Returns where the area before the one at `position` in the cursor's leaf ends.
    pub fn end_before(&self, position: usize) -> Option<usize> {
        match position.checked_sub(1) {
            Some(before) => self.at(before).map(|area| area.end()),
            None => self.end_before_cursor(),
        }
    }
}

/// The areas of a tree in order.
pub struct Iter<'a, S: Slot> {
    /// The tree and not its nodes alone: a reference to the tree is not `Send`, so the iterator
    /// stays with the thread that uses the tree.
    tree: &'a Tree<S>,
    leaf: Option<&'a Leaf<S>>,
    position: usize,
}

impl<'a, S: Slot> Iterator for Iter<'a, S> {
    type Item = SlotRef<'a, S>;

    #[inline]
    fn next(&mut self) -> Option<SlotRef<'a, S>> {
        loop {
            let leaf = self.leaf?;
            if let Some(area) = leaf.get(self.position) {
                self.position += 1;
                return Some(area);
            }
            self.leaf = leaf.next().map(|next| self.tree.nodes.leaves.get(next));
            self.position = 0;
        }
    }
}
