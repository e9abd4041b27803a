//! The search for a gap: by the largest one below each child.

use super::{Tree, below_the_highest};
use crate::areas::inner::Inner;
use crate::areas::{Backing, Span};

impl<B: Backing> Tree<B> {
    /// The first gap between two areas that ends above `addr` and has `size`
    /// bytes, at least one.
    pub fn gap(&self, addr: usize, size: usize) -> Option<Span> {
        let root = self.nodes.root.get()?;
        let Some(top) = self.depth().checked_sub(1) else {
            return self
                .nodes
                .leaves
                .get(root)
                .gap(below_the_highest(addr), size);
        };
        let inner = self.nodes.inners.get(root);
        if addr <= inner.start() {
            return self.first_gap(inner, inner.gap_from(0, size)?, top, size);
        }
        self.gap_above(root, below_the_highest(addr), size)
    }

    /// The first gap that ends above `addr` and has `size` bytes, where the root is the
    /// inner node `id`.
    #[inline(never)]
    fn gap_above(&self, mut id: u32, addr: usize, size: usize) -> Option<Span> {
        // Where to go on if there is none on the way: all of it is above.
        let mut behind = None;
        let mut height = self.depth();
        let inners = self.nodes.inners.all();
        // Down towards `addr` while there may be a gap before or below.
        while let Some(below) = height.checked_sub(1) {
            height = below;
            let inner = inners.get(id);
            let slot = inner.search(addr);
            if let Some(next) = inner.gap_from(slot + 1, size) {
                behind = Some((inner, next, height));
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
        let (inner, slot, height) = behind?;
        self.first_gap(inner, slot, height, size)
    }

    /// The first gap of `size` bytes before or in the child in `slot` of `inner`,
    /// which has `height` levels of inner nodes below it.
    #[inline(never)]
    fn first_gap<'a>(
        &'a self,
        mut inner: &'a Inner,
        mut slot: usize,
        mut height: usize,
        size: usize,
    ) -> Option<Span> {
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

    /// The gap between the child in `slot` of `inner` and the one before it; an
    /// empty one if it is the first.
    fn gap_before(&self, inner: &Inner, slot: usize, height: usize) -> Span {
        match inner.end_before(slot) {
            Some(low) => low..self.nodes.start_of(height, inner.child(slot)),
            None => 0..0,
        }
    }
}
