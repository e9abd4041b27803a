//! An inner node of the tree: what a search has to know of each child to choose one.

use super::extent::Extent;
use super::pool::Node;
use super::word::{Link, Word};

/// How many children fit: a power of two, for the tournament.
const CAPACITY: usize = 32;

/// Children in order of their addresses, by number, each with what a search compares.
pub struct Inner {
    start: Word,
    end: Word,
    len: Word,
    /// The next free node, while this one is free.
    next_free: Link,
    /// Where each child ends. The highest address of all for the last child and for those that
    /// are missing, so that a search always ends at a child.
    ends: [Word; CAPACITY],
    /// A tournament of gaps. Entry `CAPACITY + slot` is the largest gap in the child in `slot`,
    /// or between that child and the one before it. Entry `n` is the larger of the entries `2n`
    /// and `2n + 1`, so entry 1 is the largest gap of all.
    gaps: [Word; 2 * CAPACITY],
    children: [Word; CAPACITY],
}

impl Node for Inner {
    fn new() -> Self {
        Self {
            start: Word::new(0),
            end: Word::new(0),
            len: Word::new(0),
            next_free: Link::none(),
            ends: Word::array(usize::MAX),
            gaps: Word::array(0),
            children: Word::array(0),
        }
    }

    fn clear(&self) {
        self.len.set(0);
        self.start.set(0);
        self.end.set(0);
        self.clear_search_keys();
    }

    fn link(&self) -> &Link {
        &self.next_free
    }
}

impl Inner {
    /// The fewest children of an inner node that is not the root.
    pub const FEWEST: usize = CAPACITY / 2;

    /// Returns the child in `slot`, which is below `CAPACITY`. While another thread changes the
    /// node, it may be any node that has been a child.
    #[inline(always)]
    pub fn child(&self, slot: usize) -> u32 {
        // Truncates nothing: `insert` stores numbers of 32 bits, and the other writes copy them.
        self.children[slot].get() as u32
    }

    /// Returns the number of children.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Returns whether there is no space for one more child.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.len() == CAPACITY
    }

    /// Returns where the first area below starts.
    #[inline(always)]
    pub fn start(&self) -> usize {
        self.start.get()
    }

    /// Returns what the parent knows of this node.
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        Extent {
            start: self.start.get(),
            end: self.end.get(),
            gap: self.gaps[1].get(),
        }
    }

    /// Returns the slot of the first child that ends above `addr`, or that of the last child if
    /// all end below. `addr` is not the highest address of all. While another thread changes the
    /// node, the slot may be any below `CAPACITY`.
    #[inline]
    pub fn search(&self, addr: usize) -> usize {
        let ends_above = |slot: usize| self.ends[slot].get() > addr;
        // The first of the four slots that the child is among, then its slot. Comparisons with fixed
        // slots take fewer instructions than a binary search, which computes the slots.
        let group_ends_above = |first: &usize| ends_above(first + 3);
        let first = if ends_above(3) {
            0
        } else if ends_above(15) {
            [4, 8].into_iter().find(group_ends_above).unwrap_or(12)
        } else {
            let found = [16, 20, 24].into_iter().find(group_ends_above);
            found.unwrap_or(28)
        };
        if ends_above(first) {
            first
        } else if ends_above(first + 1) {
            first + 1
        } else if ends_above(first + 2) {
            first + 2
        } else {
            first + 3
        }
    }

    /// Returns where the child before `slot` ends.
    #[inline]
    pub fn end_before(&self, slot: usize) -> Option<usize> {
        self.ends.get(slot.checked_sub(1)?).map(Word::get)
    }

    /// Returns the first slot with a gap of `size` bytes, at least one, in its child or before that
    /// child.
    #[inline(always)]
    pub fn first_gap(&self, size: usize) -> Option<usize> {
        let fits = |entry: &usize| self.gaps[*entry].get() >= size;
        // The entries above four slots each, then the four slots.
        let group = 4 * [8, 9, 10, 11, 12, 13, 14, 15].into_iter().find(fits)?;
        let others = [group, group + 1, group + 2];
        let entry = others.into_iter().find(fits).unwrap_or(group + 3);
        Some(entry - CAPACITY)
    }

    /// Returns the first slot after `slot` with a gap of `size` bytes, at least one, in its child or
    /// before that child.
    #[inline(always)]
    pub fn next_gap(&self, slot: usize, size: usize) -> Option<usize> {
        // Up, until an entry's right sibling has such a gap below it. Only an even entry has one.
        let is_found = |height: &usize| {
            slot >> height & 1 == 0 && !self.is_gap_below((CAPACITY + slot) >> height | 1, size)
        };
        let height = [0, 1, 2, 3, 4].into_iter().find(is_found)?;
        let mut entry = (CAPACITY + slot) >> height | 1;
        // Down to the first slot below `entry` whose gap is large enough.
        while entry < CAPACITY {
            entry *= 2;
            entry += usize::from(self.is_gap_below(entry, size));
        }
        Some(entry - CAPACITY)
    }

    /// Returns whether entry `entry` of the tournament is below `size`.
    #[inline(always)]
    fn is_gap_below(&self, entry: usize, size: usize) -> bool {
        // `entry` is a valid index. The remainder is the same, and saves a check.
        self.gaps[entry % (2 * CAPACITY)].get() < size
    }

    /// Returns whether there is a gap of `size` bytes in the child in `slot` or before it.
    #[inline(always)]
    pub fn has_gap(&self, slot: usize, size: usize) -> bool {
        self.gaps[CAPACITY + slot].get() >= size
    }

    /// Returns the child after the one in `slot`.
    #[inline(always)]
    pub fn next(&self, slot: usize) -> Option<u32> {
        (slot + 1 < self.len()).then(|| self.child(slot + 1))
    }

    /// Returns whether the child in `slot` is the last.
    #[inline(always)]
    pub fn is_last(&self, slot: usize) -> bool {
        slot + 1 == self.len()
    }

    /// Updates where the last child ends. Its start and its largest gap are as they were.
    #[inline(always)]
    pub fn set_end(&self, end: usize) {
        self.end.set(end);
    }

    /// Updates what is known of the child in `slot`, whose extent was `old` and is `new`. If its
    /// end has changed, `next` is the extent of the child after it, or `None` without such a child.
    /// If the end is as it was, `next` is `None`.
    pub fn update(&self, slot: usize, old: Extent, new: Extent, next: Option<Extent>) {
        if old.gap != new.gap || old.start != new.start {
            self.set_gap(slot, self.gap_with(slot, new));
            if slot == 0 {
                self.start.set(new.start);
            }
        }
        if let Some(next) = next {
            self.ends[slot].set(new.end);
            self.set_gap(slot + 1, self.gap_with(slot + 1, next));
        } else if self.is_last(slot) {
            self.end.set(new.end);
        }
    }

    #[inline(always)]
    fn set_gap(&self, slot: usize, gap: usize) {
        let mut entry = CAPACITY + slot;
        self.gaps[entry].set(gap);
        // The entries above one that stays the same also stay the same.
        while entry > 1 {
            let largest = self.gaps[entry].get().max(self.gaps[entry ^ 1].get());
            entry /= 2;
            if self.gaps[entry].get() == largest {
                return;
            }
            self.gaps[entry].set(largest);
        }
    }

    fn clear_search_keys(&self) {
        Word::fill(&self.ends, usize::MAX);
        Word::fill(&self.gaps, 0);
    }

    /// Sets what is known of the child in `slot`, which is below `len`. To be called for all
    /// children in order after `insert`, `remove`, `split` and `merge`.
    pub fn set_child_extent(&self, slot: usize, child: Extent) {
        if slot == 0 {
            self.start.set(child.start);
            self.clear_search_keys();
        }
        self.end.set(child.end);
        self.set_gap(slot, self.gap_with(slot, child));
        if slot + 1 < self.len() {
            self.ends[slot].set(child.end);
        }
    }

    /// Adds `child` at `slot`, which is not above `len`, to a node that is not full. The caller
    /// then [sets the extents of all children](Self::set_child_extent).
    pub fn insert(&self, slot: usize, child: u32) {
        let len = self.len();
        for moved in (slot..len).rev() {
            self.children[moved + 1].set(self.children[moved].get());
        }
        self.children[slot].set(child as usize);
        self.len.set(len + 1);
    }

    /// Removes the child in `slot`, which is below `len`. The caller then
    /// [sets the extents of all children](Self::set_child_extent).
    pub fn remove(&self, slot: usize) {
        let len = self.len() - 1;
        for moved in slot..len {
            self.children[moved].set(self.children[moved + 1].get());
        }
        self.len.set(len);
    }

    /// Moves the upper half of a full node's children into `right`, an empty node.
    pub fn split(&self, right: &Self) {
        self.balance(right);
    }

    /// Moves all children of `right`, the next node, into this one if there is space. Otherwise
    /// makes both equally full. Returns whether `right` is empty now.
    pub fn merge(&self, right: &Self) -> bool {
        if self.len() + right.len() > CAPACITY {
            self.balance(right);
            return false;
        }
        while right.len() > 0 {
            self.insert(self.len(), right.child(0));
            right.remove(0);
        }
        true
    }

    /// Makes this node and `right`, the next one, equally full.
    fn balance(&self, right: &Self) {
        while self.len() > right.len() + 1 {
            let last = self.len() - 1;
            right.insert(0, self.child(last));
            self.remove(last);
        }
        while right.len() > self.len() {
            self.insert(self.len(), right.child(0));
            right.remove(0);
        }
    }

    /// Returns the largest gap in the child in `slot`, whose extent is `child`, or before it.
    fn gap_with(&self, slot: usize, child: Extent) -> usize {
        match slot {
            0 => child.gap,
            _ => child
                .start
                .saturating_sub(self.ends[slot - 1].get())
                .max(child.gap),
        }
    }
}

#[cfg(test)]
impl Inner {
    /// Panics if an invariant of the node does not hold for such children. Returns its extent.
    pub fn check(&self, children: &[Extent]) -> Extent {
        let before = |slot: usize| slot.checked_sub(1).map(|before| children[before].end);
        let mut extent = children[0];
        for (slot, child) in children.iter().enumerate() {
            let gap = before(slot).map_or(0, |end| child.start.checked_sub(end).unwrap());
            assert_eq!(self.gaps[CAPACITY + slot].get(), gap.max(child.gap));
            extent.end = child.end;
            extent.gap = extent.gap.max(self.gaps[CAPACITY + slot].get());
            let end = match slot + 1 < children.len() {
                true => child.end,
                false => usize::MAX,
            };
            assert_eq!(self.ends[slot].get(), end);
        }
        let missing = &self.ends[children.len()..];
        assert!(missing.iter().all(|end| end.get() == usize::MAX));
        let missing = &self.gaps[CAPACITY + children.len()..];
        assert!(missing.iter().all(|gap| gap.get() == 0));
        for entry in 1..CAPACITY {
            let [left, right] = [2 * entry, 2 * entry + 1].map(|below| self.gaps[below].get());
            assert_eq!(self.gaps[entry].get(), left.max(right));
        }
        assert_eq!(extent, self.extent());
        extent
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A child from `start` on. Most have small gaps, in them and before them, and a few large ones.
    fn child(slot: usize, start: usize) -> Extent {
        Extent {
            start,
            end: start + 10,
            gap: match slot % 13 {
                12 => 20,
                rest => rest * 5 % 4,
            },
        }
    }

    #[test]
    fn a_search_finds_what_a_look_at_each_slot_finds() {
        for len in 2..=CAPACITY {
            let node = Inner::new();
            let (mut children, mut gaps) = (Vec::new(), Vec::new());
            let mut end = 5;
            for slot in 0..len {
                let before = slot * 7 % 6;
                let child = child(slot, end + before);
                end = child.end;
                children.push(child);
                gaps.push(child.gap.max(if slot == 0 { 0 } else { before }));
                node.insert(slot, slot as u32);
            }
            for (slot, child) in children.iter().enumerate() {
                node.set_child_extent(slot, *child);
            }
            for addr in 0..end + 2 {
                let found = children.iter().position(|child| child.end > addr);
                assert_eq!(node.search(addr), found.unwrap_or(len - 1));
            }
            for size in 1..22 {
                let fits = |slot: &usize| gaps[*slot] >= size;
                assert_eq!(node.first_gap(size), (0..len).find(fits));
                for slot in 0..len {
                    assert_eq!(node.next_gap(slot, size), (slot + 1..len).find(fits));
                }
            }
        }
    }
}
