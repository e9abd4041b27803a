//! The invariants of a tree, for tests.

use super::Tree;
use crate::node::extent::Extent;
use crate::node::inner::Inner;
use crate::node::leaf::Leaf;
use crate::node::slot::Slot;

impl<S: Slot> Tree<S> {
    /// Panics if an invariant does not hold. Returns the number of levels of inner nodes.
    pub fn check(&self) -> usize {
        let mut leaves = Vec::new();
        if let Some(root) = self.nodes.root.get() {
            self.check_below(self.depth(), root, &mut leaves);
        }
        let links = leaves.iter().map(|&id| self.nodes.leaves.get(id).next());
        let next = leaves.iter().skip(1).map(|&id| Some(id));
        assert!(links.eq(next.chain(leaves.last().map(|_| None))));
        assert_eq!(leaves.len(), self.nodes.leaves.in_use());
        self.depth()
    }

    /// Returns how many leaves and inner nodes can be taken without allocating memory.
    pub fn free_nodes(&self) -> (usize, usize) {
        (
            self.nodes.leaves.free_count(),
            self.nodes.inners.free_count(),
        )
    }

    fn check_below(&self, height: usize, id: u32, leaves: &mut Vec<u32>) -> Extent {
        let is_root = self.nodes.root.get() == Some(id) && self.depth() == height;
        if height == 0 {
            leaves.push(id);
            let leaf = self.nodes.leaves.get(id);
            assert!(leaf.len() >= if is_root { 1 } else { Leaf::<S>::FEWEST });
            return leaf.check();
        }
        let inner = self.nodes.inners.get(id);
        assert!(inner.len() >= if is_root { 2 } else { Inner::FEWEST });
        let children = (0..inner.len()).map(|slot| inner.child(slot));
        let extents: Vec<_> = children
            .map(|child| self.check_below(height - 1, child, leaves))
            .collect();
        inner.check(&extents)
    }
}
