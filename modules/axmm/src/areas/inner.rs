//! An inner node of the tree: what has to be known of each child to choose one.

use core::mem;
use core::ptr;

use super::Extent;
use super::pool::Node;

/// The most children, a power of two.
const CAPACITY: usize = 32;

/// Children in order of their addresses, by number, each with what a search
/// compares.
pub struct Inner {
    start: usize,
    end: usize,
    len: usize,
    /// Where each child ends: the highest address of all for the last, and for
    /// those that are not there, so that a search always ends at a child.
    ends: [usize; CAPACITY],
    /// The largest gap in each child, or between it and the one before.
    gaps: [usize; CAPACITY],
    /// The largest of these from each child on; 0 behind the last.
    rest: [usize; CAPACITY + 1],
    children: [u32; CAPACITY],
}

impl Node for Inner {
    fn new() -> Self {
        Self {
            start: 0,
            end: 0,
            len: 0,
            ends: [usize::MAX; CAPACITY],
            gaps: [0; CAPACITY],
            rest: [0; CAPACITY + 1],
            children: [0; CAPACITY],
        }
    }

    fn empty(&mut self) {
        *self = Self::new();
    }
}

impl Inner {
    /// The fewest children of an inner node that is not the root.
    pub const FEWEST: usize = CAPACITY / 2;

    /// The children.
    pub fn children(&self) -> &[u32] {
        self.children.get(..self.len).unwrap_or(&[])
    }

    /// The child in `slot`, below `len`.
    pub fn child(&self, slot: usize) -> u32 {
        self.children[slot]
    }

    /// How many children there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    /// From where to where all areas below lie, and the largest gap between them.
    pub fn extent(&self) -> Extent {
        Extent {
            start: self.start,
            end: self.end,
            gap: self.rest[0],
        }
    }

    /// The slot of the first child that ends above `addr`, which is not the
    /// highest address of all; the last child's if none does.
    pub fn search(&self, addr: usize) -> usize {
        let mut slot = 0;
        for step in [16, 8, 4, 2, 1] {
            if self.ends[slot + step - 1] <= addr {
                slot += step;
            }
        }
        slot
    }

    /// The child of the node at `this` whose areas lie around `addr`, while another may
    /// change the node: then it may be any that was a child once.
    ///
    /// # Safety
    ///
    /// There is an inner node, in use or not, for as long as this takes.
    pub unsafe fn peek(this: *const Self, addr: usize) -> u32 {
        // SAFETY: the caller's promise, here and below; all slots are below `CAPACITY`.
        let (ends, children) = unsafe { (&raw const (*this).ends, &raw const (*this).children) };
        let mut slot = 0;
        for step in [16, 8, 4, 2, 1] {
            // SAFETY: as above.
            if unsafe { ends.cast::<usize>().add(slot + step - 1).read_volatile() } <= addr {
                slot += step;
            }
        }
        // SAFETY: as above.
        unsafe { ptr::read_volatile(children.cast::<u32>().add(slot)) }
    }

    /// Where the child before `slot` ends.
    pub fn end_before(&self, slot: usize) -> Option<usize> {
        self.ends.get(slot.checked_sub(1)?).copied()
    }

    /// Whether any slot from `slot` on has a gap of `size` bytes, at least one, in its
    /// child or before it.
    pub fn has_gap_from(&self, slot: usize, size: usize) -> bool {
        self.rest[slot] >= size
    }

    /// The first such slot.
    pub fn gap_from(&self, slot: usize, size: usize) -> Option<usize> {
        (slot..self.len).find(|&slot| self.has_gap(slot, size))
    }

    /// Whether there is a gap of `size` bytes in the child in `slot` or before it.
    pub fn has_gap(&self, slot: usize, size: usize) -> bool {
        self.gaps[slot] >= size
    }

    /// The child behind the one in `slot`.
    pub fn next(&self, slot: usize) -> Option<u32> {
        (slot + 1 < self.len).then(|| self.children[slot + 1])
    }

    /// Whether the child in `slot` is the last.
    pub fn is_last(&self, slot: usize) -> bool {
        slot + 1 == self.len
    }

    /// Takes over that the last child ends at `end` now, and nothing else.
    pub fn move_end(&mut self, end: usize) {
        self.end = end;
    }

    /// Takes over that the child in `slot` has the extent `new` instead of `old`,
    /// and that the one behind it, if there is one and the end has moved, has
    /// `next`.
    pub fn update(&mut self, slot: usize, old: Extent, new: Extent, next: Option<Extent>) {
        if old.gap != new.gap || old.start != new.start {
            self.set_gap(slot, self.gap_with(slot, new));
            if slot == 0 {
                self.start = new.start;
            }
        }
        if let Some(next) = next {
            self.ends[slot] = new.end;
            self.set_gap(slot + 1, self.gap_with(slot + 1, next));
        } else if self.is_last(slot) {
            self.end = new.end;
        }
    }

    #[inline(always)]
    fn set_gap(&mut self, mut slot: usize, gap: usize) {
        self.gaps[slot] = gap;
        let mut largest = gap.max(self.rest[slot + 1]);
        // Children before one that knows of no other gap do not either.
        while mem::replace(&mut self.rest[slot], largest) != largest && slot > 0 {
            slot -= 1;
            largest = largest.max(self.gaps[slot]);
        }
    }

    /// Takes over the extent of the child in `slot`, below `len`, of all children
    /// one after the other: after `insert`, `remove`, `split` and `merge`.
    pub fn learn(&mut self, slot: usize, child: Extent) {
        if slot == 0 {
            self.start = child.start;
            self.ends = [usize::MAX; CAPACITY];
            self.gaps = [0; CAPACITY];
            self.rest = [0; CAPACITY + 1];
        }
        self.end = child.end;
        self.set_gap(slot, self.gap_with(slot, child));
        if slot + 1 < self.len {
            self.ends[slot] = child.end;
        }
    }

    /// Adds `child` at `slot`, not above `len`, where there is room. What is known
    /// of the children is no longer right.
    pub fn insert(&mut self, slot: usize, child: u32) {
        self.children.copy_within(slot..self.len, slot + 1);
        self.children[slot] = child;
        self.len += 1;
    }

    /// Takes the child out of `slot`, below `len`. What is known of the children
    /// is no longer right.
    pub fn remove(&mut self, slot: usize) {
        self.children.copy_within(slot + 1..self.len, slot);
        self.len -= 1;
    }

    /// Moves the upper half of a full node's children into `right`, an empty one.
    pub fn split(&mut self, right: &mut Self) {
        self.share(right);
    }

    /// Moves all children of `right`, the node behind this one, in here if there
    /// is room. Otherwise makes both equally full. Answers whether `right` is
    /// empty now.
    pub fn merge(&mut self, right: &mut Self) -> bool {
        if self.len + right.len > CAPACITY {
            self.share(right);
            return false;
        }
        while right.len > 0 {
            self.insert(self.len, right.children[0]);
            right.remove(0);
        }
        true
    }

    fn share(&mut self, right: &mut Self) {
        while self.len > right.len + 1 {
            right.insert(0, self.children[self.len - 1]);
            self.remove(self.len - 1);
        }
        while right.len > self.len {
            self.insert(self.len, right.children[0]);
            right.remove(0);
        }
    }

    /// The largest gap in the child in `slot`, whose extent is `child`, or before
    /// it.
    fn gap_with(&self, slot: usize, child: Extent) -> usize {
        match slot {
            0 => child.gap,
            _ => child
                .start
                .saturating_sub(self.ends[slot - 1])
                .max(child.gap),
        }
    }
}

#[cfg(test)]
impl Inner {
    /// Panics if anything is not as it has to be with such children.
    pub fn check(&self, children: &[Extent]) -> Extent {
        let before = |slot: usize| slot.checked_sub(1).map(|before| children[before].end);
        let mut extent = children[0];
        for (slot, child) in children.iter().enumerate() {
            let gap = before(slot).map_or(0, |end| child.start.checked_sub(end).unwrap());
            assert_eq!(self.gaps[slot], gap.max(child.gap));
            extent.end = child.end;
            extent.gap = extent.gap.max(self.gaps[slot]);
            let end = match slot + 1 < children.len() {
                true => child.end,
                false => usize::MAX,
            };
            assert_eq!(self.ends[slot], end);
        }
        assert!(
            self.ends[children.len()..]
                .iter()
                .all(|&end| end == usize::MAX)
        );
        assert!(self.gaps[children.len()..].iter().all(|&gap| gap == 0));
        for slot in 0..=CAPACITY {
            let largest = self.gaps[slot..].iter().max();
            assert_eq!(self.rest[slot], largest.copied().unwrap_or(0));
        }
        assert!(extent == self.extent());
        extent
    }
}
