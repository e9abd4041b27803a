//! Nodes that are allocated before an operation changes a tree, so that the change cannot fail.

use alloc::vec::Vec;
use core::ops::AddAssign;

use axerrno::{AxError, AxResult};

use super::counted::Counted;
use super::node::{Inner, Leaf};

/// A number of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    inners: usize,
    leaves: usize,
}

impl Need {
    /// `count` inner nodes.
    pub const fn inner(count: usize) -> Self {
        Self {
            inners: count,
            leaves: 0,
        }
    }

    /// Adds a node at `level`. Leaves have level 0.
    pub fn add_node(&mut self, level: u32) {
        match level {
            0 => self.leaves += 1,
            _ => self.inners += 1,
        }
    }
}

impl AddAssign for Need {
    fn add_assign(&mut self, other: Self) {
        self.inners += other.inners;
        self.leaves += other.leaves;
    }
}

/// Empty nodes without a place in a tree. What is left of them is freed when this is dropped.
#[derive(Default)]
pub struct Spares {
    inners: Vec<Counted<Inner>>,
    leaves: Vec<Counted<Leaf>>,
}

impl Spares {
    /// Returns whether there are nodes for `need`.
    pub fn suffice(&self, need: Need) -> bool {
        need.inners <= self.inners.len() && need.leaves <= self.leaves.len()
    }

    /// Returns whether no node is left.
    #[cfg(test)]
    pub fn are_used_up(&self) -> bool {
        self.inners.is_empty() && self.leaves.is_empty()
    }

    /// Allocates nodes until there are enough for `need`.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`.
    pub fn fill(&mut self, need: Need) -> AxResult {
        fill(&mut self.inners, need.inners, Inner::new)?;
        fill(&mut self.leaves, need.leaves, Leaf::new)
    }

    /// Takes an inner node.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is none.
    pub fn take_inner(&mut self) -> AxResult<Counted<Inner>> {
        self.inners.pop().ok_or(AxError::NoMemory)
    }

    /// Takes a leaf.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is none.
    pub fn take_leaf(&mut self) -> AxResult<Counted<Leaf>> {
        self.leaves.pop().ok_or(AxError::NoMemory)
    }
}

fn fill<T>(nodes: &mut Vec<Counted<T>>, count: usize, new: impl Fn() -> T) -> AxResult {
    let missing = count.saturating_sub(nodes.len());
    let reserved = nodes.try_reserve_exact(missing);
    reserved.map_err(|_| AxError::NoMemory)?;
    for _ in 0..missing {
        nodes.push(Counted::new(new())?);
    }
    Ok(())
}
