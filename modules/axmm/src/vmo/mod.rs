//! Memory objects: memory that exists apart from any address.
//!
//! For readers who know `mmap`: an object is what a mapping shows, such as the pages of a shared
//! anonymous mapping or of a file. Here it has a handle of its own ([`Vmo`]). It can be read,
//! written, resized and cloned without being mapped.
//!
//! ```text
//!   Vmo ─┐                        ┌─ Tree   paged, snapshot: frames in a persistent tree
//!   Vmo ─┼─► Object ─ body, state ┼─ Run    contiguous, physical: one run of frames
//!   Vmo ─┘      ▲                 └─ Slice  a window on another object ─┐
//!               └───────────────────────────────────────────────────────┘
//! ```
//!
//! A page that was never written has no frame. It reads as zero, and all such pages share the zero
//! frame. A snapshot shares all frames with its original, so its cost does not depend on the
//! number of pages. The first write to a shared page by either side copies the page. An object
//! that is the only owner of a page writes to it in place.
//!
//! An operation that fails leaves the object as it was, except where its errors say otherwise, or if a
//! frame has 2^31 owners. Dropping a handle never allocates, and
//! dropping the last handle frees the object's memory at once.
//!
//! # Files
//!
//! ```text
//!   mod                              handles, kinds, name and length: begin here
//!   read_write  resize   snapshot    operations, one file each
//!   commit  decommit  pin  usage
//!   request                          what page faults ask for
//!   object ─► lock, mappings         what a handle refers to, its locks, where it is mapped
//!   big_reader_lock ─► lock          the object's state, which page faults read
//!   batch                            taking pages away from mappings
//!   tree ─► spares ─► node           pages by their index; allocated nodes; one node
//!   page_frame, counted              counted references to frames and nodes
//! ```

pub(crate) mod batch;
mod big_reader_lock;
mod commit;
mod counted;
mod decommit;
mod lock;
pub(crate) mod mappings;
mod node;
mod object;
mod page_frame;
mod pin;
mod read_write;
mod request;
mod resize;
mod snapshot;
mod spares;
mod tree;
mod usage;

use core::fmt;
use core::ops::Range;

use axalloc::{UsageKind, alloc_frames};
use axconfig::PAGE_SIZE;
use axerrno::{AxError, AxResult};
use memory_addr::PhysAddr;
use page_table_multiarch::PagingMetaData;

use self::counted::Counted;
use self::object::{Body, MAX_LEN, Object, State, pages_from};
use self::tree::Tree;
use crate::backing::zeroed::zero;
use crate::machine::{Machine, ThisMachine};

pub use self::pin::PinnedPages;
pub use self::request::{Access, Run};
pub use self::usage::Committed;

/// What an object is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmoKind {
    /// Pages that get a frame with the first write.
    Paged,
    /// A paged object that can be resized.
    Resizable,
    /// One run of frames, allocated from the start.
    Contiguous,
    /// A given range of physical memory.
    Physical,
    /// A window on another object.
    Slice,
    /// A copy-on-write clone of a paged object.
    Snapshot,
}

impl VmoKind {
    /// Returns the kind in one lower-case word, for listings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paged => "paged",
            Self::Resizable => "resizable",
            Self::Contiguous => "contiguous",
            Self::Physical => "physical",
            Self::Slice => "slice",
            Self::Snapshot => "snapshot",
        }
    }
}

/// How mappings of an object use the data caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// Normal memory.
    Cached,
    /// Normal memory, without caches.
    Uncached,
    /// Device registers.
    Device,
}

/// A handle of a memory object. The object exists as long as it has handles. Each slice and each
/// mapping of it has one.
pub struct Vmo<M: Machine = ThisMachine>(Counted<Object<M>>);

/// In a kernel, harts share handles.
#[cfg(feature = "hal")]
const _: () = {
    const fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Vmo>();
};

impl<M: Machine> Clone for Vmo<M> {
    /// Returns another handle of the object. This cannot fail.
    fn clone(&self) -> Self {
        Self(self.0.share())
    }
}

impl<M: Machine> Vmo<M> {
    /// Makes an object of `len` bytes, all zero, which take no memory before they are written.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `len` is 0, not page-aligned, or above 2^52.
    /// - Fails with `NoMemory`.
    pub fn new_paged(len: usize) -> AxResult<Self> {
        if len == 0 {
            return Err(AxError::InvalidInput);
        }
        Self::new_tree(VmoKind::Paged, len)
    }

    /// Makes an object like [`new_paged`](Self::new_paged) that can be resized. `len` may be 0.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `len` is not page-aligned, or above 2^52.
    /// - Fails with `NoMemory`.
    pub fn new_resizable(len: usize) -> AxResult<Self> {
        Self::new_tree(VmoKind::Resizable, len)
    }

    fn new_tree(kind: VmoKind, len: usize) -> AxResult<Self> {
        let pages = page_count(len)?;
        let state = State::new(pages, Tree::new(pages));
        Object::create(kind, Body::Tree { base: 0 }, state)
    }

    /// Makes an object of `len` bytes, all zero, in contiguous frames. It keeps these frames.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `len` is 0, not page-aligned, or above 2^52.
    /// - Fails with `NoMemory` if there is no such run of frames.
    pub fn new_contiguous(len: usize) -> AxResult<Self> {
        let pages = page_count(len)?;
        let mut frames = alloc_frames(pages, PAGE_SIZE, UsageKind::Object)?;
        zero::<M>(&mut frames);
        let body = Body::Run {
            start: frames.start(),
            owned: Some(frames),
        };
        // The tree stays empty.
        Object::create(VmoKind::Contiguous, body, State::new(pages, Tree::new(0)))
    }

    /// Makes an object of `len` bytes of physical memory from `start` on. Its cache policy is
    /// `Device`.
    ///
    /// # Errors
    ///
    /// - Fails with `InvalidInput` if `start` or `len` is not page-aligned, if `len` is 0 or above
    ///   2^52, or if the machine has no such physical addresses.
    /// - Fails with `NoMemory`.
    ///
    /// # Safety
    ///
    /// No Rust code relies on the contents of the range as long as the object exists, and writing
    /// to the range breaks nothing else.
    pub unsafe fn new_physical(start: PhysAddr, len: usize) -> AxResult<Self> {
        let pages = pages_from(start.as_usize(), len)?.len();
        // Page tables would drop the higher bits of an invalid address.
        let is_valid = |len: usize| M::Meta::paddr_is_valid(start.as_usize() + (len - 1));
        if page_count(len)? == 0 || !is_valid(len) {
            return Err(AxError::InvalidInput);
        }
        let mut state = State::new(pages, Tree::new(0));
        state.policy = CachePolicy::Device;
        let body = Body::Run { start, owned: None };
        Object::create(VmoKind::Physical, body, state)
    }

    /// Makes a window on `len` bytes of this object from `offset` on. A write through either is
    /// seen through both. The cache policy is that of this object.
    ///
    /// # Errors
    ///
    /// - Fails with `Unsupported` if this object is resizable.
    /// - Fails with `InvalidInput` if `offset` or `len` is not page-aligned, if `len` is 0, or if
    ///   the range does not lie in this object.
    /// - Fails with `NoMemory`.
    pub fn slice(&self, offset: usize, len: usize) -> AxResult<Self> {
        let pages = pages_from(offset, len)?;
        if self.0.kind == VmoKind::Resizable {
            return Err(AxError::Unsupported);
        }
        if pages.is_empty() || offset + len > self.len() {
            return Err(AxError::InvalidInput);
        }
        let (object, first) = self.target();
        let body = Body::Slice {
            of: object.clone(),
            first: first + pages.start,
            pages: pages.len(),
        };
        let state = State::new(pages.len(), Tree::new(0));
        Object::create(VmoKind::Slice, body, state)
    }

    /// Returns the object that has the pages of this one, and the index there of this object's first
    /// page. For a slice that is the object that it is a window on. Any other object has its pages
    /// itself.
    pub(crate) fn target(&self) -> (&Self, usize) {
        match &self.0.body {
            Body::Slice { of, first, .. } => (of, *first),
            Body::Tree { .. } | Body::Run { .. } => (self, 0),
        }
    }

    /// Returns the object that has `pages`, and their indices there. The caller compares these with
    /// that object's length, which may change until its state is locked.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if this object is a slice, and does not have all of `pages`.
    fn locate(&self, pages: &Range<usize>) -> AxResult<(&Object<M>, Range<usize>)> {
        match &self.0.body {
            Body::Slice { pages: len, .. } if pages.end > *len => Err(AxError::InvalidInput),
            Body::Slice { of, first, .. } => Ok((&of.0, first + pages.start..first + pages.end)),
            Body::Tree { .. } | Body::Run { .. } => Ok((&self.0, pages.clone())),
        }
    }

    /// Returns what the object is made of.
    pub fn kind(&self) -> VmoKind {
        self.0.kind
    }

    /// Returns a number that no other object has as long as this one exists.
    pub fn id(&self) -> usize {
        core::ptr::from_ref(&*self.0).addr()
    }

    /// Returns the offset of a snapshot's first byte in the object from which it was cloned, or
    /// from which that one was cloned, and so on. 0 for other objects.
    pub fn origin(&self) -> usize {
        match self.0.body {
            Body::Tree { base } => base * PAGE_SIZE,
            Body::Run { .. } | Body::Slice { .. } => 0,
        }
    }

    /// Returns the length in bytes.
    #[allow(
        clippy::len_without_is_empty,
        reason = "an object is a length of memory, not a list"
    )]
    pub fn len(&self) -> usize {
        self.0.state.read().pages * PAGE_SIZE
    }

    /// Returns the name, which is empty at first.
    pub fn name(&self) -> &'static str {
        self.0.state.read().name
    }

    /// Sets the name.
    pub fn set_name(&self, name: &'static str) {
        self.0.state.with(|state| state.name = name);
    }

    /// Returns how mappings use the data caches.
    pub fn cache_policy(&self) -> CachePolicy {
        let (object, _) = self.target();
        object.0.state.read().policy
    }

    /// Sets how mappings use the data caches.
    ///
    /// # Errors
    ///
    /// Fails with `BadState` if the object has a shared mapping, if one of its pages is pinned, or if
    /// another object of its family exists: an object, its snapshots, and their snapshots.
    pub fn set_cache_policy(&self, policy: CachePolicy) -> AxResult {
        let (object, _) = self.target();
        let _turn = object.0.turn.wait();
        object.0.state.with(|state| {
            // Looked at with the state locked, so that no mapping reads the policy between this and
            // the change.
            let is_mapped = object.0.mappings.is_mapped();
            let is_cloned = state.family.as_ref().is_some_and(Counted::is_shared);
            if is_mapped || is_cloned || !state.pins.is_empty() {
                return Err(AxError::BadState);
            }
            state.policy = policy;
            Ok(())
        })
    }
}

impl<M: Machine> fmt::Debug for Vmo<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name, len) = (self.kind(), self.name(), self.len());
        write!(f, "{kind:?} object {name:?} of {len:#x} bytes")
    }
}

/// Returns the number of pages of an object of `len` bytes.
///
/// # Errors
///
/// Fails with `InvalidInput` if `len` is not page-aligned, or above [`MAX_LEN`].
fn page_count(len: usize) -> AxResult<usize> {
    if len > MAX_LEN || !len.is_multiple_of(PAGE_SIZE) {
        return Err(AxError::InvalidInput);
    }
    Ok(len / PAGE_SIZE)
}
