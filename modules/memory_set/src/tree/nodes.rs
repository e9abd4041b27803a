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

/// The most levels of inner nodes. A root has at least 2 children, and each inner node below it at
/// least 16. So nine levels would have at least 2 * 16^8 = 2^33 leaves, whose numbers would not fit
/// in 32 bits.
pub const LEVELS: usize = 8;

/// The nodes of a tree. With a [`WordSlot`] any thread may [peek](Self::peek) while one thread
/// changes them.
pub struct Nodes<S> {
    pub leaves: Pool<Leaf<S>>,
    pub inners: Pool<Inner>,
    /// Guards the root, the depth, and the children of each inner node. What an inner node knows
    /// of its children besides, such as where they end, may change at any time.
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
    /// Returns the extent of the node `id`, which has the height `height`.
    #[inline]
    pub fn extent_of(&self, height: usize, id: u32) -> Extent {
        match height {
            0 => self.leaves.get(id).extent(),
            _ => self.inners.get(id).extent(),
        }
    }
}

impl Nodes<WordSlot> {
    /// Finds the area that contains `addr`, while another thread may change the tree. Returns
    /// `None` if there is no such area, or if the tree was changed meanwhile.
    ///
    /// If an inner node's knowledge of where a child ends changes meanwhile, the search may end
    /// in another leaf. That leaf does not have the area, or has it as it is.
    #[inline(always)]
    pub fn peek(&self, addr: usize) -> Option<(PeekedArea, LeafSnapshot)> {
        // No area contains it, but a vacant slot has it as its end.
        if addr == usize::MAX {
            return None;
        }
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
    /// The snapshot of no leaf, which is never [current](Self::is_current).
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

/// Returns the address to search for instead of `addr`: the highest address of all is replaced by
/// the one before it. Nodes mark vacant slots and missing children with the highest address, so a
/// search cannot ask for it. No area contains it, because no area ends above it.
#[inline(always)]
pub fn below_the_highest(addr: usize) -> usize {
    addr.min(usize::MAX - 1)
}
