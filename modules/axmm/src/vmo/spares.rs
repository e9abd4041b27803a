//! Nodes that are allocated before an operation changes a tree, so that the change cannot fail.

use alloc::vec::Vec;
use core::ops::AddAssign;

use axerrno::{AxError, AxResult};

use super::counted::{Counted, Zeroed};
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
///
/// `None` before the first node is allocated. Most operations need no node, and then have nothing to
/// initialize and nothing to drop.
#[derive(Default)]
pub struct Spares(Option<Stocks>);

#[derive(Default)]
struct Stocks {
    inners: Stock<Inner>,
    leaves: Stock<Leaf>,
}

impl Spares {
    /// Returns whether there are nodes for `need`.
    pub fn suffice(&self, need: Need) -> bool {
        match &self.0 {
            Some(Stocks { inners, leaves }) => {
                need.inners <= inners.count() && need.leaves <= leaves.count()
            }
            None => need == Need::default(),
        }
    }

    /// Returns whether no node is left.
    #[cfg(test)]
    pub fn are_used_up(&self) -> bool {
        let left = |all: &Stocks| all.inners.count() + all.leaves.count();
        self.0.as_ref().is_none_or(|all| left(all) == 0)
    }

    /// Allocates nodes until there are enough for `need`.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`.
    pub fn fill(&mut self, need: Need) -> AxResult {
        let all = self.0.get_or_insert_default();
        all.inners.fill(need.inners)?;
        all.leaves.fill(need.leaves)
    }

    /// Takes an inner node.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is none.
    pub fn take_inner(&mut self) -> AxResult<Counted<Inner>> {
        let all = self.0.as_mut().ok_or(AxError::NoMemory)?;
        all.inners.take()
    }

    /// Takes a leaf.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is none.
    pub fn take_leaf(&mut self) -> AxResult<Counted<Leaf>> {
        let all = self.0.as_mut().ok_or(AxError::NoMemory)?;
        all.leaves.take()
    }
}

/// Empty nodes of one type.
struct Stock<T> {
    /// One node. A list of one would take an allocation of its own, and most operations need at
    /// most one leaf and one inner node.
    first: Option<Counted<T>>,
    /// Further nodes. Empty if `first` is.
    rest: Vec<Counted<T>>,
}

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
        }
    }
}

impl<T: Zeroed> Stock<T> {
    fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn take(&mut self) -> AxResult<Counted<T>> {
        let node = self.rest.pop().or_else(|| self.first.take());
        node.ok_or(AxError::NoMemory)
    }

    fn fill(&mut self, count: usize) -> AxResult {
        let missing = count.saturating_sub(self.count());
        if missing == 0 {
            return Ok(());
        }
        let for_list = missing - usize::from(self.first.is_none());
        let reserved = self.rest.try_reserve_exact(for_list);
        reserved.map_err(|_| AxError::NoMemory)?;
        if self.first.is_none() {
            self.first = Some(Counted::new_zeroed()?);
        }
        for _ in 0..for_list {
            self.rest.push(Counted::new_zeroed()?);
        }
        Ok(())
    }
}
