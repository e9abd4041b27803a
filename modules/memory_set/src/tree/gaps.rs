//! Searching a gap. Inner nodes know the largest gap in each child or before it.

use core::ops::Range;

use super::Tree;
use super::nodes::below_the_highest;
use crate::node::inner::Inner;
use crate::node::slot::Slot;

impl<S: Slot> Tree<S> {
    /// Returns the first gap between two areas that ends above `addr` and has `size` bytes, at
    /// least one.
    pub fn gap(&self, addr: usize, size: usize) -> Option<Range<usize>> {
        let root = self.nodes.root.get()?;
        let Some(top) = self.depth().checked_sub(1) else {
            let leaf = self.nodes.leaves.get(root);
            return leaf.gap(below_the_highest(addr), size);
        };
        let inner = self.nodes.inners.get(root);
        // All gaps end above the start of the first area. So they need not be compared with `addr`.
        if addr <= inner.start() {
            return self.first_gap(inner, inner.gap_from(0, size)?, top, size);
        }
        self.gap_above(root, below_the_highest(addr), size)
    }

    /// Returns the first gap that ends above `addr` and has `size` bytes. `root` is an inner node.
    #[inline(never)]
    fn gap_above(&self, root: u32, addr: usize, size: usize) -> Option<Range<usize>> {
        // Where to go on if the path to `addr` has no such gap: the first child after the path that
        // has one in it or before it.
        let mut next_place = None;
        let mut id = root;
        let mut level = self.depth();
        let inners = self.nodes.inners.all();
        // Down towards `addr`, as long as there may be a gap on the path.
        while let Some(below) = level.checked_sub(1) {
            level = below;
            let inner = inners.get(id);
            let slot = inner.search(addr);
            if let Some(next) = inner.gap_from(slot + 1, size) {
                next_place = Some((inner, next, level));
            }
            if !inner.has_gap(slot, size) {
                break;
            }
            let before = self.gap_before(inner, slot, level);
            if before.end > addr && before.len() >= size {
                return Some(before);
            }
            id = inner.child(slot);
            if level == 0 {
                let gap = self.nodes.leaves.get(id).gap(addr, size);
                if gap.is_some() {
                    return gap;
                }
            }
        }
        let (inner, slot, level) = next_place?;
        self.first_gap(inner, slot, level, size)
    }

    /// Returns the first gap of `size` bytes before or in the child in `slot` of `inner`, a node on
    /// `level`.
    #[inline(never)]
    fn first_gap<'a>(
        &'a self,
        mut inner: &'a Inner,
        mut slot: usize,
        mut level: usize,
        size: usize,
    ) -> Option<Range<usize>> {
        let inners = self.nodes.inners.all();
        loop {
            let (low, child) = (inner.end_before(slot), inner.child(slot));
            // The end of the child before, if a gap of `size` bytes lies between it and `high`.
            let low_of_gap_to = |high: usize| low.filter(|low| high.saturating_sub(*low) >= size);
            if level == 0 {
                let leaf = self.nodes.leaves.get(child);
                let high = leaf.start();
                return match low_of_gap_to(high) {
                    Some(low) => Some(low..high),
                    None => leaf.first_gap(size),
                };
            }
            inner = inners.get(child);
            let high = inner.start();
            if let Some(low) = low_of_gap_to(high) {
                return Some(low..high);
            }
            slot = inner.gap_from(0, size)?;
            level -= 1;
        }
    }

    /// Returns the gap between the child in `slot` of `inner`, a node on `level`, and the child
    /// before it. It is empty for the first child.
    fn gap_before(&self, inner: &Inner, slot: usize, level: usize) -> Range<usize> {
        match inner.end_before(slot) {
            Some(low) => low..self.nodes.start_of(level, inner.child(slot)),
            None => 0..0,
        }
    }
}
