//! Nodes by number, and a stock of free ones.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::word::{Link, Word};
use crate::error::NoMemory;
use crate::sync::const_unless_loom;

/// What a [`Pool`] keeps. Other threads may read a node while it is written, so all that they
/// read of it consists of words.
pub trait Node {
    /// Returns an empty node.
    fn new() -> Self;

    /// Makes the node an empty one.
    fn clear(&self);

    /// Returns a link that the node does not need while it is free.
    fn link(&self) -> &Link;
}

/// Nodes, each with a number. Only [`reserve`](Self::reserve) allocates memory.
///
/// A node stays at its address, and its memory stays a node, until the pool is dropped: a reader
/// without a lock may be reading a node that is free again ([`peek`](Self::peek)). Only `peek`
/// may be called beside other calls.
pub struct Pool<T> {
    /// The places of the current list: the address of each node, by number. The first `count` are
    /// filled. Stored here as well as in `list`, so that a lookup reads one word less.
    places: AtomicPtr<AtomicPtr<T>>,
    /// The number of nodes, in use and free.
    count: AtomicUsize,
    /// The current list. Only changes of the pool read it.
    list: AtomicPtr<List<T>>,
    /// The first free node, which links to the next, and the number of free nodes.
    free: Link,
    free_count: Word,
    _nodes: PhantomData<T>,
}

/// All nodes of a pool.
pub struct All<'a, T>(&'a [AtomicPtr<T>]);

impl<'a, T> All<'a, T> {
    /// Returns the node `id`, which the pool has.
    #[inline(always)]
    pub fn get(&self, id: u32) -> &'a T {
        // Relaxed: the caller has exclusive access to the pool, or no thread changes it.
        let node = self.0[id as usize].load(Ordering::Relaxed);
        // SAFETY: `allocate` makes a node from a box before it counts it. Only `drop` frees it,
        // and this borrows the pool.
        unsafe { &*node }
    }
}

/// Places for nodes. A full list is replaced by a longer one, and is kept, because a reader may
/// still use it.
struct List<T> {
    places: Box<[AtomicPtr<T>]>,
    shorter: *mut List<T>,
}

impl<T> Pool<T> {
    const_unless_loom! {
        /// Returns a pool without nodes.
        pub fn new() -> Self {
            Self {
                places: AtomicPtr::new(NonNull::dangling().as_ptr()),
                count: AtomicUsize::new(0),
                list: AtomicPtr::new(ptr::null_mut()),
                free: Link::none(),
                free_count: Word::new(0),
                _nodes: PhantomData,
            }
        }
    }
}

impl<T: Node> Pool<T> {
    /// Returns the node `id`, which the pool has.
    #[inline(always)]
    pub fn get(&self, id: u32) -> &T {
        self.all().get(id)
    }

    /// Returns all nodes, for several calls of [`get`](All::get).
    #[inline(always)]
    pub fn all(&self) -> All<'_, T> {
        // Relaxed: the caller has exclusive access to the pool, or no thread changes it.
        All(self.places(Ordering::Relaxed))
    }

    /// Returns the node `id`, in use or free, while another thread may change the pool. Returns
    /// `None` if this thread does not see yet that the pool has such a node.
    #[inline]
    pub fn peek(&self, id: u32) -> Option<&T> {
        // Acquire: pairs with the Release stores of `allocate` and `grow`.
        let node = self.places(Ordering::Acquire).get(id as usize)?;
        // SAFETY: `allocate` makes a node from a box before it counts it, and only `drop` frees
        // it.
        Some(unsafe { &*node.load(Ordering::Relaxed) })
    }

    /// Returns the places of all nodes. `order` is `Acquire` if another thread may change the pool
    /// meanwhile, and may otherwise be `Relaxed`.
    #[inline(always)]
    fn places(&self, order: Ordering) -> &[AtomicPtr<T>] {
        let count = self.count.load(order);
        let places = self.places.load(order);
        // SAFETY: `places` is read after `count`. A list is replaced by one that has all nodes
        // of the list before it, and only `drop` frees lists. While there are no nodes the
        // pointer dangles, which is allowed for an empty slice.
        unsafe { slice::from_raw_parts(places, count) }
    }

    /// Makes sure that `count` nodes can be taken without allocating memory.
    ///
    /// # Errors
    ///
    /// Returns `NoMemory` if an allocation fails. At least as many nodes can be taken as before.
    #[inline(always)]
    pub fn reserve(&self, count: usize) -> Result<(), NoMemory> {
        match self.free_count.get() < count {
            true => self.allocate(count),
            false => Ok(()),
        }
    }

    #[cold]
    fn allocate(&self, count: usize) -> Result<(), NoMemory> {
        while self.free_count.get() < count {
            let all = self.count.load(Ordering::Relaxed);
            let id = u32::try_from(all).map_err(|_| NoMemory)?;
            let place = match self.place(all) {
                Some(place) => place,
                None => {
                    self.grow(all)?;
                    self.place(all).ok_or(NoMemory)?
                }
            };
            place.store(Box::into_raw(boxed(T::new())?), Ordering::Relaxed);
            // Release pairs with `peek`: the place of a counted node is filled.
            self.count.store(all + 1, Ordering::Release);
            self.add_free(id);
        }
        Ok(())
    }

    /// Returns the place of the node `id`, filled or not, if the list is long enough.
    fn place(&self, id: usize) -> Option<&AtomicPtr<T>> {
        // SAFETY: `grow` made the list from a box, and only `drop` frees it.
        let list = unsafe { self.list.load(Ordering::Relaxed).as_ref() };
        list?.places.get(id)
    }

    /// Replaces the list by one with the first `count` nodes and places for as many more.
    fn grow(&self, count: usize) -> Result<(), NoMemory> {
        let nodes = self.places(Ordering::Relaxed);
        let node = |id: usize| match nodes.get(id) {
            Some(node) => AtomicPtr::new(node.load(Ordering::Relaxed)),
            None => AtomicPtr::new(ptr::null_mut()),
        };
        let list = Box::into_raw(boxed(List {
            places: boxed_slice((0..(2 * count).max(4)).map(node))?,
            shorter: self.list.load(Ordering::Relaxed),
        })?);
        // SAFETY: `list` comes from the box that was made one statement before.
        let places = unsafe { &(*list).places }.as_ptr();
        self.list.store(list, Ordering::Relaxed);
        // Release pairs with `peek`: all places of the new list are filled.
        self.places.store(places.cast_mut(), Ordering::Release);
        Ok(())
    }

    fn add_free(&self, id: u32) {
        self.get(id).link().set(self.free.get());
        self.free.set(Some(id));
        self.free_count.set(self.free_count.get() + 1);
    }

    /// Takes an empty node, which has been [reserved](Self::reserve).
    ///
    /// # Panics
    ///
    /// Panics if no node has been reserved and there is no memory for one.
    #[expect(clippy::panic, reason = "a caller that has not reserved is wrong")]
    pub fn take(&self) -> u32 {
        // A failure is found below: there is no free node.
        let _ = self.reserve(1);
        let Some(id) = self.free.get() else {
            panic!("no memory for an area that was not reserved");
        };
        let link = self.get(id).link();
        self.free.set(link.get());
        self.free_count.set(self.free_count.get() - 1);
        link.set(None);
        id
    }

    /// Makes the node `id`, which has been in use, a free one.
    pub fn free(&self, id: u32) {
        self.get(id).clear();
        self.add_free(id);
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let mut list = *self.list.get_mut();
        let mut count = *self.count.get_mut();
        while !list.is_null() {
            // SAFETY: `grow` made each list from a box, and each is visited once.
            let current = unsafe { Box::from_raw(list) };
            for node in &current.places[..count] {
                // SAFETY: `allocate` made each node from a box. The longest list, which comes
                // first, has each node once, and of the others no node is visited.
                drop(unsafe { Box::from_raw(node.load(Ordering::Relaxed)) });
            }
            count = 0;
            list = current.shorter;
        }
    }
}

/// Puts `value` in a box, or returns `NoMemory` if the allocation fails.
fn boxed<T>(value: T) -> Result<Box<T>, NoMemory> {
    let one: *mut [T] = Box::into_raw(boxed_slice(iter::once(value))?);
    // SAFETY: the slice has one item, so it has the layout of a `T`.
    Ok(unsafe { Box::from_raw(one.cast()) })
}

/// Puts all of `values` in a box, or returns `NoMemory` if the allocation fails.
fn boxed_slice<T>(values: impl ExactSizeIterator<Item = T>) -> Result<Box<[T]>, NoMemory> {
    let mut items = Vec::new();
    items
        .try_reserve_exact(values.len())
        .map_err(|_| NoMemory)?;
    items.extend(values);
    Ok(items.into_boxed_slice())
}

#[cfg(test)]
impl<T> Pool<T> {
    /// Returns how many nodes can be taken without allocating memory.
    pub fn free_count(&self) -> usize {
        self.free_count.get()
    }

    /// Returns how many nodes are in use.
    pub fn in_use(&self) -> usize {
        self.count.load(Ordering::Relaxed) - self.free_count()
    }
}
