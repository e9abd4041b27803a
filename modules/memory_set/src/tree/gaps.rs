//! Searching a gap, led by the largest gap below each child.

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
        if addr <= inner.start() {
            return self.first_gap(inner, inner.gap_from(0, size)?, top, size);
        }
        self.gap_above(root, below_the_highest(addr), size)
    }

    /// Returns the first gap that ends above `addr` and has `size` bytes. The root is the inner
    /// node `id`.
    #[inline(never)]
    fn gap_above(&self, mut id: u32, addr: usize, size: usize) -> Option<Range<usize>> {
        // The place to go on from if there is no such gap on the path to `addr`. All of it is
        // above `addr`.
        let mut next_place = None;
        let mut height = self.depth();
        let inners = self.nodes.inners.all();
        // Down towards `addr`, as long as there may be a gap on the path.
        while let Some(below) = height.checked_sub(1) {
            height = below;
            let inner = inners.get(id);
            let slot = inner.search(addr);
            if let Some(next) = inner.gap_from(slot + 1, size) {
                next_place = Some((inner, next, height));
            }
            if !inner.has_gap(slot, size) {
                break;
            }
            let before = self.gap_before(inner, slot, height);
            if before.end > addr && before.len() >= size {
                return Some(before);
            }
            id = inner.child(slot);
            if height == 0 {
                let gap = self.nodes.leaves.get(id).gap(addr, size);
                if gap.is_some() {
                    return gap;
                }
            }
        }
        let (inner, slot, height) = next_place?;
        self.first_gap(inner, slot, height, size)
    }

    /// Returns the first gap of `size` bytes before or in the child in `slot` of `inner`, which
    /// has `height` levels of inner nodes below it.
    #[inline(never)]
    fn first_gap<'a>(
        &'a self,
        mut inner: &'a Inner,
        mut slot: usize,
        mut height: usize,
        size: usize,
    ) -> Option<Range<usize>> {
        let inners = self.nodes.inners.all();
        loop {
            let (low, child) = (inner.end_before(slot), inner.child(slot));
            let before = |high: usize| low.filter(|low| high.saturating_sub(*low) >= size);
            if height == 0 {
                let leaf = self.nodes.leaves.get(child);
                let high = leaf.start();
                return match before(high) {
                    Some(low) => Some(low..high),
                    None => leaf.first_gap(size),
                };
            }
            inner = inners.get(child);
            let high = inner.start();
            if let Some(low) = before(high) {
                return Some(low..high);
            }
            slot = inner.gap_from(0, size)?;
            height -= 1;
        }
    }

    /// Returns the gap between the child in `slot` of `inner` and the child before it. An empty
    /// one for the first child.
    fn gap_before(&self, inner: &Inner, slot: usize, height: usize) -> Range<usize> {
        match inner.end_before(slot) {
            Some(low) => low..self.nodes.start_of(height, inner.child(slot)),
            None => 0..0,
        }
    }
}
