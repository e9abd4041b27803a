//! Searches for free addresses.

use std::ops::Range;

use axmm::VirtAddrRange;
use proptest::prelude::*;

use super::{Modelled, SIZE, Verdict};
use crate::{KIB4, TestMachine, virt};

impl<M: TestMachine> Modelled<M> {
    /// Compares `find_free_area` with the model.
    pub(super) fn find_free(&self, hint: usize, size: usize, limit: (usize, usize)) -> Verdict {
        let limit = (self.base + limit.0, self.base + limit.1);
        let hint = self.base + hint;
        let range = VirtAddrRange::new(virt(limit.0), virt(limit.1));
        let found = self.aspace.find_free_area(virt(hint), size, range);
        prop_assert_eq!(found.map(usize::from), self.free_area(hint, size, limit));
        Ok(())
    }

    /// Returns the lowest address of a gap that has `size` bytes from `hint` on, within
    /// `limit`. That is the lowest address allowed, or the end of an area.
    fn free_area(&self, hint: usize, size: usize, limit: (usize, usize)) -> Option<usize> {
        let low = hint.max(limit.0).max(self.base).next_multiple_of(KIB4);
        let high = limit.1.min(self.base + SIZE);
        let mapped: Vec<_> = self.mapped().map(|(range, _)| range).collect();
        let ends = mapped.iter().map(|range| range.end);
        let mut starts = std::iter::once(low).chain(ends.filter(|end| *end >= low));
        starts.find(|&start| {
            let overlaps = |range: &Range<usize>| start < range.end && range.start < start + size;
            size > 0
                && size.is_multiple_of(KIB4)
                && start < high
                && start + size <= high
                && !mapped.iter().any(overlaps)
        })
    }
}
