//! Searching a gap. Inner nodes know the largest gap in each child or before it.

use core::ops::Range;

use super::Tree;
use crate::node::extent::Extent;
use crate::node::inner::Inner;
use crate::node::slot::Slot;

impl<S: Slot> Tree<S> {
    /// Returns the first gap that has `size` bytes, at least one, and ends above `addr`. The
    /// addresses before the first area are a gap, too, and so are those after the last area. If no
    /// other gap fits, the gap after the last area is returned, whatever its size.
    #[inline]
    pub fn gap(&self, addr: usize, size: usize) -> Range<usize> {
        let Some(root) = self.nodes.root.get() else {
            return 0..usize::MAX;
        };
        let Some(top) = self.depth().checked_sub(1) else {
            let leaf = self.nodes.leaves.get(root);
            return gap_around(leaf.extent(), addr, size, || leaf.gap(addr, size));
        };
        let inner = self.nodes.inners.get(root);
        gap_around(inner.extent(), addr, size, || match addr <= inner.start() {
            // All gaps end above `addr`.
            true => self.first_gap(inner, inner.first_gap(size)?, top, size),
            false => self.gap_above(inner, top, addr, size),
        })
    }

    /// Returns the first gap below `inner`, a node on `level`, that ends above `addr` and has
    /// `size` bytes. `addr` is not below the start of `inner`.
    #[inline(never)]
    fn gap_above<'a>(
        &'a self,
        mut inner: &'a Inner,
        mut level: usize,
        addr: usize,
        size: usize,
    ) -> Option<Range<usize>> {
        let inners = self.nodes.inners.all();
        // Where to go on if the path to `addr` has no such gap: the first child after the path that
        // has one in it or before it.
        let mut next_place = None;
        loop {
            let slot = inner.search(addr);
            if let Some(next) = inner.next_gap(slot, size) {
                next_place = Some((inner, next, level));
            }
            if !inner.has_gap(slot, size) {
                break;
            }
            // Down to the child, unless all gaps in it and before it end above `addr`.
            let child = inner.child(slot);
            if level == 0 {
                let leaf = self.nodes.leaves.get(child);
                if leaf.start() > addr {
                    next_place = Some((inner, slot, level));
                } else if let Some(gap) = leaf.gap(addr, size) {
                    return Some(gap);
                }
                break;
            }
            let child = inners.get(child);
            if child.start() > addr {
                next_place = Some((inner, slot, level));
                break;
            }
            inner = child;
            level -= 1;
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
            slot = inner.first_gap(size)?;
            level -= 1;
        }
    }
}

/// Returns the first gap that has `size` bytes and ends above `addr`. All areas have the extent
/// `all`, and `between` searches between them, for an `addr` below their end. If no other gap fits,
/// the gap after the last area is returned, whatever its size.
#[inline(always)]
fn gap_around(
    all: Extent,
    addr: usize,
    size: usize,
    between: impl FnOnce() -> Option<Range<usize>>,
) -> Range<usize> {
    if addr < all.start && size <= all.start {
        return 0..all.start;
    }
    let found = match addr < all.end && size <= all.gap {
        true => between(),
        false => None,
    };
    found.unwrap_or(all.end..usize::MAX)
}
