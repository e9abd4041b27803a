//! What has to be true of a tree at any time.

use super::Tree;
use crate::areas::inner::Inner;
use crate::areas::leaf::Leaf;
use crate::areas::{Backing, Extent};

impl<B: Backing> Tree<B> {
    /// Panics if anything is not as it has to be. Returns how many levels of inner
    /// nodes there are.
    pub fn check(&self) -> usize {
        let mut leaves = Vec::new();
        if let Some(root) = self.nodes.root.get() {
            self.check_below(self.depth(), root, &mut leaves);
        }
        let nexts = leaves.iter().map(|&id| self.nodes.leaves.get(id).next());
        assert!(
            nexts.eq(leaves
                .iter()
                .skip(1)
                .map(|&id| Some(id))
                .chain(leaves.last().map(|_| None)))
        );
        assert_eq!(leaves.len(), self.nodes.leaves.in_use());
        let all: Vec<_> = self.iter_from(0).map(|area| area.area()).collect();
        assert!(all.windows(2).all(|pair| !pair[0].continues(&pair[1])));
        self.depth()
    }

    /// How many leaves and inner nodes can be taken without asking for memory.
    pub fn room(&self) -> (usize, usize) {
        (self.nodes.leaves.free(), self.nodes.inners.free())
    }

    fn check_below(&self, height: usize, id: u32, leaves: &mut Vec<u32>) -> Extent {
        let is_root = self.nodes.root.get() == Some(id) && self.depth() == height;
        if height == 0 {
            leaves.push(id);
            let leaf = self.nodes.leaves.get(id);
            assert!(leaf.len() >= if is_root { 1 } else { Leaf::<B>::FEWEST });
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
