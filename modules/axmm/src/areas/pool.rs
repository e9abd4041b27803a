//! Nodes of a tree by number.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use axerrno::{AxError, AxResult};

use crate::boxed::boxed;

/// What a [`Pool`] keeps.
pub trait Node {
    /// One with nothing in it.
    fn new() -> Self;

    /// Takes all out of it.
    fn empty(&mut self);
}

/// Nodes, each with a number. Memory is asked for by [`reserve`](Self::reserve)
/// alone.
///
/// A node is where it is, and its memory is a node's, for as long as there is the pool:
/// whoever reads without a lock may still be looking at one that is in use no more
/// ([`peek`](Self::peek)).
pub struct Pool<T> {
    /// By number. There is room for more than there are.
    nodes: Vec<NonNull<T>>,
    /// Where the nodes are listed, and how many of them are: for who has no lock.
    list: AtomicPtr<NonNull<T>>,
    count: AtomicUsize,
    /// Where they were listed before there were as many.
    lists_before: Vec<Vec<NonNull<T>>>,
    /// The numbers of empty nodes; there is room for all.
    free: Vec<u32>,
    _nodes: PhantomData<T>,
}

// SAFETY: the nodes are the pool's own.
unsafe impl<T: Send> Send for Pool<T> {}
// SAFETY: as above; what is read while it is written is told from what is not by the
// versions of nodes.
unsafe impl<T: Send + Sync> Sync for Pool<T> {}

impl<T: Node> Pool<T> {
    /// No nodes.
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            list: AtomicPtr::new(ptr::null_mut()),
            count: AtomicUsize::new(0),
            lists_before: Vec::new(),
            free: Vec::new(),
            _nodes: PhantomData,
        }
    }

    /// The node `id`, which is in use.
    pub fn get(&self, id: u32) -> &T {
        // SAFETY: the nodes are the pool's, and whoever has the pool to itself writes
        // none meanwhile.
        unsafe { self.nodes[id as usize].as_ref() }
    }

    /// The node `id`, which is in use.
    pub fn get_mut(&mut self, id: u32) -> &mut T {
        // SAFETY: as above.
        unsafe { self.nodes[id as usize].as_mut() }
    }

    /// The nodes `a` and `b`, two that are in use.
    pub fn get_both(&mut self, a: u32, b: u32) -> Option<(&mut T, &mut T)> {
        let [a, b] = self.nodes.get_disjoint_mut([a as usize, b as usize]).ok()?;
        // SAFETY: as above, and they are two.
        Some(unsafe { (a.as_mut(), b.as_mut()) })
    }

    /// Where the node `id` is, or was once, while another may change the pool.
    ///
    /// # Safety
    ///
    /// There is the pool, whatever happens to it.
    pub unsafe fn peek(this: *const Self, id: u32) -> Option<*const T> {
        // SAFETY: the caller's promise; both are atomics.
        let (list, count) = unsafe { (&(*this).list, &(*this).count) };
        let count = count.load(Ordering::Acquire);
        let list = list.load(Ordering::Acquire);
        if id as usize >= count {
            return None;
        }
        // SAFETY: a list has at least as many as were counted before it was looked up, and
        // stays; what is listed is not changed.
        Some(unsafe { list.add(id as usize).read() }.as_ptr())
    }

    /// Makes sure that `count` nodes can be taken into use without asking for
    /// memory.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then what can be taken is at least what it was.
    #[inline(always)]
    pub fn reserve(&mut self, count: usize) -> AxResult {
        match self.free.len() < count {
            true => self.ask_for(count),
            false => Ok(()),
        }
    }

    #[cold]
    fn ask_for(&mut self, count: usize) -> AxResult {
        while self.free.len() < count {
            let id = u32::try_from(self.nodes.len()).map_err(|_| AxError::NoMemory)?;
            if self.nodes.len() == self.nodes.capacity() {
                self.make_room()?;
            }
            let all = self.nodes.len() + 1;
            self.free
                .try_reserve(all - self.free.len())
                .map_err(no_memory)?;
            let node = Box::into_raw(boxed(T::new())?);
            // SAFETY: a box is never null.
            self.nodes.push(unsafe { NonNull::new_unchecked(node) });
            self.free.push(id);
            self.count.store(all, Ordering::Release);
        }
        Ok(())
    }

    /// Lists the nodes where there is room for as many more.
    fn make_room(&mut self) -> AxResult {
        let mut more = Vec::new();
        more.try_reserve_exact((2 * self.nodes.len()).max(4))
            .map_err(no_memory)?;
        self.lists_before.try_reserve(1).map_err(no_memory)?;
        more.extend_from_slice(&self.nodes);
        self.list.store(more.as_mut_ptr(), Ordering::Release);
        self.lists_before
            .push(core::mem::replace(&mut self.nodes, more));
        Ok(())
    }

    /// Takes an empty node into use. Room has been [reserved](Self::reserve).
    pub fn take(&mut self) -> u32 {
        if self.free.is_empty() {
            // Nobody has reserved one.
            let _ = self.ask_for(1);
        }
        self.free.pop().unwrap_or_default()
    }

    /// Empties the node `id`, in use until now, for the next that is taken.
    pub fn give_back(&mut self, id: u32) {
        self.get_mut(id).empty();
        self.free.push(id);
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        for node in &self.nodes {
            // SAFETY: `ask_for` made it of a box.
            drop(unsafe { Box::from_raw(node.as_ptr()) });
        }
    }
}

fn no_memory<E>(_: E) -> AxError {
    AxError::NoMemory
}

#[cfg(test)]
impl<T> Pool<T> {
    /// How many nodes can be taken into use.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// How many nodes are in use.
    pub fn in_use(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}
