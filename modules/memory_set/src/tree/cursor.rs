//! The path to the leaf that was worked on last, where the next operation mostly works, too.

use core::cell::Cell;

use super::nodes::LEVELS;

/// A step of the path: an inner node, and the slot of the child.
#[derive(Clone, Copy)]
pub struct Step {
    pub inner: u32,
    pub slot: u32,
}

impl Step {
    const NONE: Self = Self { inner: 0, slot: 0 };
}

/// The path to one leaf.
pub struct Cursor {
    /// The leaf. `None` if nodes have been split or merged since.
    pub leaf: Cell<Option<u32>>,
    /// The address for which `position` is valid: that of the last search, or the start of the
    /// area that was inserted last. The highest address of all, which is never searched for, if
    /// areas of the leaf have changed since.
    pub sought: Cell<usize>,
    /// The position in the leaf of the first area that ends above the sought address.
    pub position: Cell<usize>,
    /// The steps from the leaf's parent up to the root.
    pub steps: [Cell<Step>; LEVELS],
}

impl Cursor {
    /// Returns a cursor that is at no leaf.
    pub const fn new() -> Self {
        Self {
            leaf: Cell::new(None),
            sought: Cell::new(usize::MAX),
            position: Cell::new(0),
            steps: [const { Cell::new(Step::NONE) }; LEVELS],
        }
    }

    /// Remembers that the first area that ends above `addr` is at `position` in the leaf.
    #[inline(always)]
    pub fn remember(&self, addr: usize, position: usize) {
        self.sought.set(addr);
        self.position.set(position);
    }

    /// Makes `sought` and `position` void.
    #[inline(always)]
    pub fn forget_position(&self) {
        self.sought.set(usize::MAX);
    }
}
