//! How much memory an object takes.

use core::ops::Range;

use axconfig::PAGE_SIZE;

use super::Vmo;
use super::node::FANOUT;
use super::object::{Body, State};
use crate::machine::Machine;

/// The bytes of an object that have a frame of the allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Those whose frames have other owners: other objects, or private mappings that show the page.
    pub shared: usize,
    /// Those whose frames have no other owner.
    pub private: usize,
}

/// A number of pages that have frames, and how many of them no other object has.
#[derive(Clone, Copy, Default)]
struct Count {
    committed: usize,
    private: usize,
}

impl<M: Machine> Vmo<M> {
    /// Returns the bytes of the pages that have a frame. The frames of a physical object are not its
    /// own, and do not count. The result is exact as long as no other thread changes the object or one
    /// of its snapshots.
    pub fn committed_bytes(&self) -> usize {
        self.count().committed * PAGE_SIZE
    }

    /// Returns the [committed bytes](Self::committed_bytes), divided into shared and private ones.
    pub fn committed(&self) -> Committed {
        let count = self.count();
        Committed {
            shared: (count.committed - count.private) * PAGE_SIZE,
            private: count.private * PAGE_SIZE,
        }
    }

    /// Returns how many of the [committed bytes](Self::committed_bytes) other objects have, too.
    pub fn shared_bytes(&self) -> usize {
        self.committed().shared
    }

    /// Returns how many of the [committed bytes](Self::committed_bytes) no other object has.
    pub fn private_bytes(&self) -> usize {
        self.committed().private
    }

    fn count(&self) -> Count {
        let own = self.0.state.read().pages;
        let (target, first) = self.target();
        let object = &*target.0;
        let committed = match &object.body {
            Body::Run { owned: Some(_), .. } => own,
            Body::Run { owned: None, .. } | Body::Slice { .. } => 0,
            Body::Tree { base } => {
                let mut rest = base + first..base + first + own;
                let mut count = Count::default();
                while object
                    .state
                    .with(|state| state.count_leaf(&mut rest, &mut count))
                {
                    M::poll();
                }
                return count;
            }
        };
        Count {
            committed,
            private: committed,
        }
    }
}

impl State {
    /// Adds the pages of the first leaf of `rest` to `count`, and removes them from `rest`.
    /// Returns whether there was a leaf.
    fn count_leaf(&self, rest: &mut Range<usize>, count: &mut Count) -> bool {
        let next = self.tree.next_leaf(rest.start);
        let Some(index) = next.filter(|next| *next < rest.end) else {
            return false;
        };
        let end = ((index | (FANOUT - 1)) + 1).min(rest.end);
        if let Some(found) = self.tree.find(index) {
            let first = index % FANOUT;
            let frames = &found.leaf.frames[first..first + (end - index)];
            for frame in frames.iter().flatten() {
                count.committed += 1;
                count.private += usize::from(found.is_path_owned && !frame.is_shared());
            }
        }
        rest.start = end;
        true
    }
}
