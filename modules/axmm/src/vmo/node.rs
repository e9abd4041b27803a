//! The nodes of an object's tree.
//!
//! ```text
//!   Child ──► Inner: 64 children ──► … ──► Leaf: 64 page frames
//!   8 bytes   520 bytes                    264 bytes
//! ```
//!
//! These sizes include the count of owners, of 8 bytes. So a leaf takes 4.1 bytes a page.
//!
//! Nodes are counted: each parent, and each object for its root, owns one reference. A node with
//! several owners is immutable.

use core::marker::PhantomData;
use core::mem::{self, ManuallyDrop};
use core::ptr::NonNull;

use axalloc::FrameRun;
use axerrno::AxResult;

use super::counted::{Counted, Zeroed};
use super::page_frame::PageFrame;

/// log2 of [`FANOUT`].
pub const FANOUT_BITS: u32 = 6;

/// The number of children of an inner node, and of pages of a leaf.
pub const FANOUT: usize = 1 << FANOUT_BITS;

// An `Option` of a reference takes no more memory than the reference.
const _: () = assert!(size_of::<Leaf>() == 256 && size_of::<Inner>() == 512);

/// The frames of 64 pages. `None` is a page that reads as zero.
pub struct Leaf {
    pub frames: [Option<PageFrame>; FANOUT],
}

impl Leaf {
    /// A leaf without pages.
    pub const fn new() -> Self {
        Self {
            frames: [const { None }; FANOUT],
        }
    }

    /// Adds a reference to each frame of `other`. This leaf has no pages.
    ///
    /// # Errors
    ///
    /// Fails like [`PageFrame::share`].
    pub fn share_from(&mut self, other: &Self) -> AxResult {
        PageFrame::share_all(&other.frames, &mut self.frames)
    }

    /// Returns whether no page has a frame.
    pub fn is_empty(&self) -> bool {
        self.frames.iter().all(Option::is_none)
    }
}

// SAFETY: `Option<PageFrame>` has the size of `PageFrame`, which the assertion above checks. The
// number in it is not 0, so `None` is the number 0.
unsafe impl Zeroed for Leaf {}

impl Drop for Leaf {
    /// Frees contiguous frames as one run, which is faster than one by one.
    fn drop(&mut self) {
        let mut run: Option<FrameRun> = None;
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            let next = frame.into_run();
            let rest = match &mut run {
                Some(run) => run.append(next).err(),
                None => Some(next),
            };
            if rest.is_some() {
                run = rest;
            }
        }
    }
}

/// The children of an inner node. `None` is a subtree without pages. No node of a tree is empty.
pub struct Inner {
    pub children: [Option<Child>; FANOUT],
}

// SAFETY: `Option<Child>` has the size of `Child`, which the assertion above checks. The address in
// it is not 0, so `None` is the address 0.
unsafe impl Zeroed for Inner {}

impl Inner {
    /// Adds a reference to each child of `other`. This node has no children.
    pub fn share_from(&mut self, other: &Self) {
        for (child, shared) in self.children.iter_mut().zip(&other.children) {
            // There is no former child to drop.
            mem::forget(mem::replace(child, shared.as_ref().map(Child::share)));
        }
    }

    /// Returns whether the node has no child.
    pub fn is_empty(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }
}

/// One reference to a node, in a word: its address, with [`LEAF`] set for a leaf.
pub struct Child {
    tagged: NonNull<()>,
    _owns: PhantomData<(Counted<Inner>, Counted<Leaf>)>,
}

/// The bit of a [`Child`] that says that it is a leaf. Nodes are aligned to 8 bytes.
const LEAF: usize = 1;

// SAFETY: a child is a counted pointer to an `Inner` or a `Leaf`. Both consist of counted
// references, which may be passed between threads.
unsafe impl Send for Child {}
// SAFETY: what a reference to a child allows is reading its node, and adding references.
unsafe impl Sync for Child {}

/// An owner of a node, by the node's type.
enum Owner {
    Inner(Counted<Inner>),
    Leaf(Counted<Leaf>),
}

impl Child {
    /// Makes a child of an inner node.
    pub fn inner(node: Counted<Inner>) -> Self {
        Self {
            tagged: node.into_raw(),
            _owns: PhantomData,
        }
    }

    /// Makes a child of a leaf.
    pub fn leaf(node: Counted<Leaf>) -> Self {
        Self {
            tagged: node.into_raw().map_addr(|addr| addr | LEAF),
            _owns: PhantomData,
        }
    }

    /// Returns the counted pointer that `self` stands for. `self` still owns the reference, so the
    /// result must not be dropped while `self` exists.
    #[inline(always)]
    fn owner(&self) -> ManuallyDrop<Owner> {
        let is_leaf = self.tagged.addr().get() & LEAF != 0;
        ManuallyDrop::new(if is_leaf {
            let raw = self.tagged.as_ptr().map_addr(|addr| addr & !LEAF);
            // SAFETY: without its tag, the address is that of a node, which is not 0.
            let raw = unsafe { NonNull::new_unchecked(raw) };
            // SAFETY: the tag says that `leaf` made this child of an owner of a leaf. `self`
            // keeps the owner, because the copy is in a `ManuallyDrop`.
            Owner::Leaf(unsafe { Counted::from_raw(raw) })
        } else {
            // SAFETY: without the tag, `inner` made this child of an owner of an inner node.
            // `self` keeps the owner, because the copy is in a `ManuallyDrop`.
            Owner::Inner(unsafe { Counted::from_raw(self.tagged) })
        })
    }

    /// Returns whether the node has other owners. See [`Counted::is_shared`].
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        match &*self.owner() {
            Owner::Inner(node) => node.is_shared(),
            Owner::Leaf(node) => node.is_shared(),
        }
    }

    /// Adds a reference to the node, and returns it.
    pub fn share(&self) -> Self {
        // The new owner has the same address and the same tag.
        match &*self.owner() {
            Owner::Inner(node) => mem::forget(node.share()),
            Owner::Leaf(node) => mem::forget(node.share()),
        }
        Self {
            tagged: self.tagged,
            _owns: PhantomData,
        }
    }

    /// Returns the node.
    #[inline(always)]
    pub fn node(&self) -> Node<'_> {
        match &*self.owner() {
            // SAFETY: `self` owns a reference for at least as long as it is borrowed, so the
            // node stays where it is.
            Owner::Inner(node) => Node::Inner(unsafe { extend(node) }),
            // SAFETY: `self` owns a reference for at least as long as it is borrowed, so the
            // node stays where it is.
            Owner::Leaf(node) => Node::Leaf(unsafe { extend(node) }),
        }
    }

    /// Returns the node for writing. `None` if it has other owners.
    #[inline(always)]
    pub fn node_mut(&mut self) -> Option<NodeMut<'_>> {
        match &mut *self.owner() {
            // SAFETY: `self` owns the only reference, and is borrowed exclusively for as long as
            // the result lives.
            Owner::Inner(node) => node
                .get_mut()
                .map(|node| NodeMut::Inner(unsafe { extend_mut(node) })),
            // SAFETY: `self` owns the only reference, and is borrowed exclusively for as long as
            // the result lives.
            Owner::Leaf(node) => node
                .get_mut()
                .map(|node| NodeMut::Leaf(unsafe { extend_mut(node) })),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(ManuallyDrop::into_inner(self.owner()));
    }
}

/// A node for reading, by its type.
pub enum Node<'a> {
    Inner(&'a Inner),
    Leaf(&'a Leaf),
}

/// A node for writing, by its type.
pub enum NodeMut<'a> {
    Inner(&'a mut Inner),
    Leaf(&'a mut Leaf),
}

/// Returns `node` with a longer lifetime.
///
/// # Safety
///
/// The node lives that long and is not written meanwhile.
unsafe fn extend<'a, T>(node: &T) -> &'a T {
    // SAFETY: the caller promises that the node lives that long.
    unsafe { mem::transmute::<&T, &'a T>(node) }
}

/// Returns `node` with a longer lifetime.
///
/// # Safety
///
/// The node lives that long and is not accessed otherwise meanwhile.
unsafe fn extend_mut<'a, T>(node: &mut T) -> &'a mut T {
    // SAFETY: the caller promises that the node lives that long.
    unsafe { mem::transmute::<&mut T, &'a mut T>(node) }
}
