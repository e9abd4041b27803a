//! The nodes of a tree, and lookup without a lock.

use core::ptr;

use crate::node::extent::Extent;
use crate::node::inner::Inner;
use crate::node::leaf::{Leaf, PeekedArea};
use crate::node::pool::Pool;
use crate::node::seq_count::SeqCount;
use crate::node::slot::{Slot, WordSlot};
use crate::node::word::{Link, Word};
use crate::sync::const_unless_loom;

/// The most levels of inner nodes. Numbers of nodes have 32 bits, and below a root of two
/// children each inner node has at least 16: with nine levels there would be 2^33 leaves.
pub const LEVELS: usize = 8;

/// The nodes of a tree. With a [`WordSlot`] any thread may [peek](Self::peek) while one thread
/// changes them.
pub struct Nodes<S> {
    pub leaves: Pool<Leaf<S>>,
    pub inners: Pool<Inner>,
    /// Guards the root, the depth, and which node is whose child.
    pub shape: SeqCount,
    pub root: Link,
    /// The number of levels of inner nodes.
    pub depth: Word,
}

impl<S> Nodes<S> {
    const_unless_loom! {
        /// Returns the nodes of a tree without areas.
        pub fn new() -> Self {
            Self {
                leaves: Pool::new(),
                inners: Pool::new(),
                shape: SeqCount::new(),
                root: Link::none(),
                depth: Word::new(0),
            }
        }
    }
}

impl<S: Slot> Nodes<S> {
    /// Returns where the first area below the node `id` starts. `height` is the number of levels
    /// below the node.
    #[inline]
    pub fn start_of(&self, height: usize, id: u32) -> usize {
        match height {
            0 => self.leaves.get(id).start(),
            _ => self.inners.get(id).start(),
        }
    }

    /// Returns the extent of the node `id`. `height` is the number of levels below the node.
    #[inline]
    pub fn extent_of(&self, height: usize, id: u32) -> Extent {
        match height {
            0 => self.leaves.get(id).extent(),
            _ => self.inners.get(id).extent(),
        }
    }
}

impl Nodes<WordSlot> {
    /// Finds the area that contains `addr`, while another thread may change the tree. `None` if
    /// there is no such area, or if the tree was changed meanwhile.
    pub fn peek(&self, addr: usize) -> Option<(PeekedArea, LeafSnapshot)> {
        let addr = below_the_highest(addr);
        let shape = self.shape.begin_read()?;
        let mut id = self.root.get()?;
        for _ in 0..self.depth.get().min(LEVELS) {
            let inner = self.inners.peek(id)?;
            id = inner.child(inner.search(addr));
        }
        let leaf = self.leaves.peek(id)?;
        let area = leaf.peek(addr)?;
        let count = area.count;
        let snapshot = LeafSnapshot { leaf, count };
        self.shape.is_unchanged(shape).then_some((area, snapshot))
    }
}

/// A leaf and its sequence count: tells whether an area that was read earlier is still there.
pub struct LeafSnapshot {
    leaf: *const Leaf<WordSlot>,
    count: usize,
}

impl LeafSnapshot {
    /// The snapshot of no leaf, which never [holds](Self::is_current).
    pub const NONE: Self = Self {
        leaf: ptr::null(),
        count: 0,
    };

    /// Returns whether the area is as it was read. Another thread may change the tree meanwhile.
    ///
    /// # Safety
    ///
    /// The set in which the area was found has not been dropped.
    #[inline(always)]
    pub unsafe fn is_current(&self) -> bool {
        // SAFETY: a leaf stays at its address until its set is dropped. The caller promises that
        // the set has not been dropped.
        let leaf = unsafe { self.leaf.as_ref() };
        leaf.is_some_and(|leaf| leaf.is_unchanged(self.count))
    }
}

/// Returns the address to search for instead of `addr`. Nodes mark what is vacant or missing
/// with the highest address of all, and no area ends above that.
#[inline(always)]
pub fn below_the_highest(addr: usize) -> usize {
    addr.min(usize::MAX - 1)
}
