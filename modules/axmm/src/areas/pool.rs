//! Nodes of a tree by number.

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use axerrno::{AxError, AxResult};

use super::word::{Link, Word};
use crate::boxed::{boxed, boxed_slice};

/// What a [`Pool`] keeps. Other harts may read a node while it is written, so it consists
/// of words.
pub trait Node {
    /// A node with nothing in it.
    fn new() -> Self;

    /// Takes everything out.
    fn empty(&self);

    /// A link that the node does not use while it is free.
    fn link(&self) -> &Link;
}

/// Nodes, each with a number. [`reserve`](Self::reserve) alone asks for memory.
///
/// A node stays where it is, and its memory stays a node, as long as the pool exists: a
/// reader without a lock may still be looking at a node that is in use no more
/// ([`peek`](Self::peek)). One hart at a time calls anything but that.
pub struct Pool<T> {
    /// The nodes by number, as many as `count` says. Behind those are free places.
    places: AtomicPtr<AtomicPtr<T>>,
    count: AtomicUsize,
    /// What `places` points into.
    list: AtomicPtr<List<T>>,
    /// The first free node, which links to the next, and how many there are.
    free: Link,
    free_count: Word,
    _nodes: PhantomData<T>,
}

/// All nodes of a pool.
pub struct All<'a, T>(&'a [AtomicPtr<T>]);

impl<'a, T> All<'a, T> {
    /// The node `id`, which is in use.
    #[inline(always)]
    pub fn get(&self, id: u32) -> &'a T {
        // Relaxed: the index lock orders what the last hart that had it has stored.
        let node = self.0[id as usize].load(Ordering::Relaxed);
        // SAFETY: a node is made of a box before it is counted, and freed when the pool is
        // dropped, which this borrows.
        unsafe { &*node }
    }
}

/// Places for nodes. A longer list replaces it when it is full, but a reader may still
/// look at it.
struct List<T> {
    places: Box<[AtomicPtr<T>]>,
    shorter: *mut List<T>,
}

impl<T: Node> Pool<T> {
    /// No nodes.
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

    /// The node `id`, which is in use.
    #[inline(always)]
    pub fn get(&self, id: u32) -> &T {
        self.all().get(id)
    }

    /// All nodes, to look up several.
    #[inline(always)]
    pub fn all(&self) -> All<'_, T> {
        // Relaxed: the index lock orders what the last hart that had it has stored.
        All(self.places(Ordering::Relaxed))
    }

    /// The node `id`, in use or not, while another hart may change the pool. `None` if it
    /// has been made since.
    pub fn peek(&self, id: u32) -> Option<&T> {
        // Acquire: pairs with the stores of `ask_for` and `make_room`.
        let node = self.places(Ordering::Acquire).get(id as usize)?;
        // SAFETY: a node is made of a box before it is counted, and `drop` alone frees it.
        Some(unsafe { &*node.load(Ordering::Relaxed) })
    }

    /// The places of all nodes. With `Acquire`, whatever another hart stores meanwhile.
    #[inline(always)]
    fn places(&self, order: Ordering) -> &[AtomicPtr<T>] {
        let count = self.count.load(order);
        let places = self.places.load(order);
        // SAFETY: the places were loaded after the count, and a list is replaced by one
        // with all nodes of the list before; `drop` alone frees a list. A pool with no
        // nodes has a dangling pointer, which is one to no places.
        unsafe { slice::from_raw_parts(places, count) }
    }

    /// Makes sure that `count` nodes can be taken into use without asking for memory.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then at least as many can be taken as before.
    #[inline(always)]
    pub fn reserve(&self, count: usize) -> AxResult {
        match self.free_count.get() < count {
            true => self.ask_for(count),
            false => Ok(()),
        }
    }

    #[cold]
    fn ask_for(&self, count: usize) -> AxResult {
        while self.free_count.get() < count {
            let all = self.count.load(Ordering::Relaxed);
            let id = u32::try_from(all).map_err(|_| AxError::NoMemory)?;
            let place = match self.place(all) {
                Some(place) => place,
                None => {
                    self.make_room(all)?;
                    self.place(all).ok_or(AxError::NoMemory)?
                }
            };
            place.store(Box::into_raw(boxed(T::new())?), Ordering::Relaxed);
            // Pairs with `peek`: what is counted is there.
            self.count.store(all + 1, Ordering::Release);
            self.put_free(id);
        }
        Ok(())
    }

    /// The place of the node `id`, used or not, if there is room for it.
    fn place(&self, id: usize) -> Option<&AtomicPtr<T>> {
        // SAFETY: `make_room` made the list of a box, and `drop` alone frees it.
        let list = unsafe { self.list.load(Ordering::Relaxed).as_ref() };
        list?.places.get(id)
    }

    /// Puts the first `count` nodes in a list with room for as many more.
    fn make_room(&self, count: usize) -> AxResult {
        let nodes = self.places(Ordering::Relaxed);
        let node = |id: usize| match nodes.get(id) {
            Some(node) => AtomicPtr::new(node.load(Ordering::Relaxed)),
            None => AtomicPtr::new(ptr::null_mut()),
        };
        let list = Box::into_raw(boxed(List {
            places: boxed_slice((0..(2 * count).max(4)).map(node))?,
            shorter: self.list.load(Ordering::Relaxed),
        })?);
        // SAFETY: it has just been made of a box.
        let places = unsafe { &(*list).places }.as_ptr();
        self.list.store(list, Ordering::Relaxed);
        // Pairs with `peek`: all places are filled.
        self.places.store(places.cast_mut(), Ordering::Release);
        Ok(())
    }

    fn put_free(&self, id: u32) {
        self.get(id).link().set(self.free.get());
        self.free.set(Some(id));
        self.free_count.set(self.free_count.get() + 1);
    }

    /// Takes an empty node into use. Room has been [reserved](Self::reserve).
    pub fn take(&self) -> u32 {
        if self.free_count.get() == 0 {
            // The caller has reserved none.
            let _ = self.ask_for(1);
        }
        let Some(id) = self.free.get() else { return 0 };
        let link = self.get(id).link();
        self.free.set(link.get());
        self.free_count.set(self.free_count.get() - 1);
        link.set(None);
        id
    }

    /// Empties the node `id`, in use until now, for the next that is taken.
    pub fn give_back(&self, id: u32) {
        self.get(id).empty();
        self.put_free(id);
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let mut list = *self.list.get_mut();
        let mut count = *self.count.get_mut();
        while !list.is_null() {
            // SAFETY: `make_room` made it of a box, and it is dropped once.
            let last = unsafe { Box::from_raw(list) };
            for node in &last.places[..count] {
                // SAFETY: `ask_for` made each node of a box, and the longest list, which
                // comes first, has each once.
                drop(unsafe { Box::from_raw(node.load(Ordering::Relaxed)) });
            }
            count = 0;
            list = last.shorter;
        }
    }
}

#[cfg(test)]
impl<T> Pool<T> {
    /// How many nodes can be taken into use.
    pub fn free(&self) -> usize {
        self.free_count.get()
    }

    /// How many nodes are in use.
    pub fn in_use(&self) -> usize {
        self.count.load(Ordering::Relaxed) - self.free()
    }
}
