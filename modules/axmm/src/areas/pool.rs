//! Nodes of a tree by number, with a stock of fresh ones.

use alloc::boxed::Box;
use alloc::vec::Vec;

use axerrno::{AxError, AxResult};

/// What a [`Pool`] keeps.
pub trait Node {
    /// One with nothing in it.
    const EMPTY: Self;
}

/// Nodes that never move while they are in use, each with a number. Memory is
/// asked for by [`reserve`](Self::reserve) alone.
pub struct Pool<T> {
    /// By number: a slice of one node, or of none where the number is free.
    nodes: Vec<Box<[T]>>,
    /// The free numbers; there is room for all.
    free: Vec<u32>,
    /// Empty nodes without a number.
    stock: Vec<Box<[T]>>,
}

impl<T: Node> Pool<T> {
    /// No nodes.
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            stock: Vec::new(),
        }
    }

    /// The node `id`, which is in use.
    pub fn get(&self, id: u32) -> &T {
        &self.nodes[id as usize][0]
    }

    /// The node `id`, which is in use.
    pub fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.nodes[id as usize][0]
    }

    /// The nodes `a` and `b`, two that are in use.
    pub fn get_both(&mut self, a: u32, b: u32) -> Option<(&mut T, &mut T)> {
        let [a, b] = self.nodes.get_disjoint_mut([a as usize, b as usize]).ok()?;
        Some((&mut a[0], &mut b[0]))
    }

    /// Makes sure that `count` nodes can be taken into use without asking for
    /// memory.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then what can be taken is at least what it was.
    #[inline(always)]
    pub fn reserve(&mut self, count: usize) -> AxResult {
        match self.stock.len().min(self.free.len()) < count {
            true => self.ask_for(count),
            false => Ok(()),
        }
    }

    #[cold]
    fn ask_for(&mut self, count: usize) -> AxResult {
        while self.stock.len() < count {
            let missing = count - self.stock.len();
            self.stock.try_reserve(missing).map_err(no_memory)?;
            let mut node = Vec::new();
            node.try_reserve_exact(1).map_err(no_memory)?;
            node.push(T::EMPTY);
            self.stock.push(node.into_boxed_slice());
        }
        while self.free.len() < count {
            let missing = count - self.free.len();
            let id = u32::try_from(self.nodes.len()).map_err(|_| AxError::NoMemory)?;
            self.nodes.try_reserve(missing).map_err(no_memory)?;
            let all = self.nodes.len() + missing - self.free.len();
            self.free.try_reserve(all).map_err(no_memory)?;
            self.nodes.push(Box::default());
            self.free.push(id);
        }
        Ok(())
    }

    /// Takes an empty node into use. Room has been [reserved](Self::reserve).
    pub fn take(&mut self) -> u32 {
        let fresh = || Box::from([T::EMPTY]);
        let node = self.stock.pop().unwrap_or_else(fresh);
        if let Some(id) = self.free.pop() {
            self.nodes[id as usize] = node;
            return id;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// Empties the node `id`, in use until now, into the stock, or gives its
    /// memory back if the stock is as large as it has ever had to be.
    pub fn give_back(&mut self, id: u32) {
        let mut node = core::mem::take(&mut self.nodes[id as usize]);
        self.free.push(id);
        if self.stock.len() < self.stock.capacity() {
            node[0] = T::EMPTY;
            self.stock.push(node);
        }
    }
}

fn no_memory<E>(_: E) -> AxError {
    AxError::NoMemory
}

#[cfg(test)]
impl<T> Pool<T> {
    /// How many nodes are in use.
    pub fn in_use(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}
