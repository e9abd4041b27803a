//! An inner node of the tree: what has to be known of each child to choose one.

use super::Extent;
use super::pool::Node;
use super::word::{Link, Word};

/// The most children, a power of two.
const CAPACITY: usize = 32;

/// Children in order of their addresses, by number, each with what a search
/// compares.
pub struct Inner {
    start: Word,
    end: Word,
    len: Word,
    /// The link of a free node.
    next: Link,
    /// Where each child ends: the highest address of all for the last, and for
    /// those that are not there, so that a search always ends at a child.
    ends: [Word; CAPACITY],
    /// A tournament of gaps. Entry `CAPACITY + slot` is the largest gap in the child in
    /// `slot`, or between it and the one before; entry `n` is the larger of entries `2n` and
    /// `2n + 1`. So entry 1 is the largest of all.
    gaps: [Word; 2 * CAPACITY],
    children: [Word; CAPACITY],
}

impl Node for Inner {
    fn new() -> Self {
        Self {
            start: Word::new(0),
            end: Word::new(0),
            len: Word::new(0),
            next: Link::none(),
            ends: Word::row(usize::MAX),
            gaps: Word::row(0),
            children: Word::row(0),
        }
    }

    fn empty(&self) {
        self.len.set(0);
        self.start.set(0);
        self.end.set(0);
        self.forget_gaps();
    }

    fn link(&self) -> &Link {
        &self.next
    }
}

impl Inner {
    /// The fewest children of an inner node that is not the root.
    pub const FEWEST: usize = CAPACITY / 2;

    /// The child in `slot`, below `CAPACITY`. While another hart changes the node it may
    /// be any that has been a child.
    pub fn child(&self, slot: usize) -> u32 {
        // Truncates nothing: `insert` alone writes children.
        self.children[slot].get() as u32
    }

    /// How many children there are.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.len() == CAPACITY
    }

    /// Where the first area below starts.
    pub fn start(&self) -> usize {
        self.start.get()
    }

    /// From where to where all areas below lie, and the largest gap between them.
    pub fn extent(&self) -> Extent {
        Extent {
            start: self.start.get(),
            end: self.end.get(),
            gap: self.gaps[1].get(),
        }
    }

    /// The slot of the first child that ends above `addr`, which is not the highest
    /// address of all; the last child's if none does. While another hart changes the node
    /// it may be any below `CAPACITY`.
    pub fn search(&self, addr: usize) -> usize {
        let mut slot = 0;
        for step in [16, 8, 4, 2, 1] {
            if self.ends[slot + step - 1].get() <= addr {
                slot += step;
            }
        }
        slot
    }

    /// Where the child before `slot` ends.
    pub fn end_before(&self, slot: usize) -> Option<usize> {
        self.ends.get(slot.checked_sub(1)?).map(Word::get)
    }

    /// The first slot, from `slot` on, that has a gap of `size` bytes, at least one, in its
    /// child or before it.
    #[inline(always)]
    pub fn gap_from(&self, slot: usize, size: usize) -> Option<usize> {
        let mut entry = match slot {
            0 => 1,
            CAPACITY => return None,
            _ => CAPACITY + slot,
        };
        // On to the next subtree to the right, the largest that starts there.
        while self.is_gap_below(entry, size) {
            entry += 1;
            if entry.is_power_of_two() {
                return None;
            }
            while entry.is_multiple_of(2) {
                entry /= 2;
            }
        }
        while entry < CAPACITY {
            entry *= 2;
            entry += usize::from(self.is_gap_below(entry, size));
        }
        Some(entry - CAPACITY)
    }

    /// Whether entry `entry` of the tournament is less than `size`.
    #[inline(always)]
    fn is_gap_below(&self, entry: usize, size: usize) -> bool {
        self.gaps[entry % (2 * CAPACITY)].get() < size
    }

    /// Whether there is a gap of `size` bytes in the child in `slot` or before it.
    pub fn has_gap(&self, slot: usize, size: usize) -> bool {
        self.gaps[CAPACITY + slot].get() >= size
    }

    /// The child behind the one in `slot`.
    pub fn next(&self, slot: usize) -> Option<u32> {
        (slot + 1 < self.len()).then(|| self.child(slot + 1))
    }

    /// Whether the child in `slot` is the last.
    pub fn is_last(&self, slot: usize) -> bool {
        slot + 1 == self.len()
    }

    /// Takes over that the last child ends at `end` now, and nothing else.
    pub fn move_end(&self, end: usize) {
        self.end.set(end);
    }

    /// Takes over that the child in `slot` has the extent `new` instead of `old`,
    /// and that the one behind it, if there is one and the end has moved, has
    /// `next`.
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
        // Above one that stays the same all others do.
        while entry > 1 {
            let largest = self.gaps[entry].get().max(self.gaps[entry ^ 1].get());
            entry /= 2;
            if self.gaps[entry].get() == largest {
                return;
            }
            self.gaps[entry].set(largest);
        }
    }

    fn forget_gaps(&self) {
        Word::fill(&self.ends, usize::MAX);
        Word::fill(&self.gaps, 0);
    }

    /// Takes over the extent of the child in `slot`, below `len`, of all children
    /// one after the other: after `insert`, `remove`, `split` and `merge`.
    pub fn learn(&self, slot: usize, child: Extent) {
        if slot == 0 {
            self.start.set(child.start);
            self.forget_gaps();
        }
        self.end.set(child.end);
        self.set_gap(slot, self.gap_with(slot, child));
        if slot + 1 < self.len() {
            self.ends[slot].set(child.end);
        }
    }

    /// Adds `child` at `slot`, not above `len`, where there is room. What is known
    /// of the children is no longer right.
    pub fn insert(&self, slot: usize, child: u32) {
        let len = self.len();
        for behind in (slot..len).rev() {
            self.children[behind + 1].set(self.children[behind].get());
        }
        self.children[slot].set(child as usize);
        self.len.set(len + 1);
    }

    /// Takes the child out of `slot`, below `len`. What is known of the children
    /// is no longer right.
    pub fn remove(&self, slot: usize) {
        let len = self.len() - 1;
        for place in slot..len {
            self.children[place].set(self.children[place + 1].get());
        }
        self.len.set(len);
    }

    /// Moves the upper half of a full node's children into `right`, an empty one.
    pub fn split(&self, right: &Self) {
        self.share(right);
    }

    /// Moves all children of `right`, the node behind this one, in here if there
    /// is room. Otherwise makes both equally full. Returns whether `right` is
    /// empty now.
    pub fn merge(&self, right: &Self) -> bool {
        if self.len() + right.len() > CAPACITY {
            self.share(right);
            return false;
        }
        while right.len() > 0 {
            self.insert(self.len(), right.child(0));
            right.remove(0);
        }
        true
    }

    fn share(&self, right: &Self) {
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

    /// The largest gap in the child in `slot`, whose extent is `child`, or before
    /// it.
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
    /// Panics if anything is not as it has to be with such children.
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
        assert!(
            self.ends[children.len()..]
                .iter()
                .all(|end| end.get() == usize::MAX)
        );
        let gaps = &self.gaps[CAPACITY + children.len()..];
        assert!(gaps.iter().all(|gap| gap.get() == 0));
        for entry in 1..CAPACITY {
            let [left, right] = [2 * entry, 2 * entry + 1].map(|below| self.gaps[below].get());
            assert_eq!(self.gaps[entry].get(), left.max(right));
        }
        assert!(extent == self.extent());
        extent
    }
}
