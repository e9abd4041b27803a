#![cfg_attr(not(test), no_std)]
#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! ```text
//!   mapping.rs   map, unmap, protect: as published   shared.rs   lookup without a lock
//!         └──────────── set.rs   MemorySet ─────────────┘
//!                       tree/    a B+ tree by address
//!                       node/    its nodes
//! ```
//!
//! With `n` areas the tree has at most `1 + log16(n / 7)` levels of inner nodes. A search for an
//! address visits one node on each level. The tree remembers the path to the leaf that was used
//! last, so a search that ends in that leaf again visits it alone.
//!
//! An inner node knows the largest gap in each child or before it. A search for a gap follows
//! these, and visits at most two nodes on each level. With an alignment above that of the areas,
//! a gap of `size` bytes or more may have no aligned place for them. The search then visits all
//! such gaps up to the first that fits. Each of them has fewer than `size + align` bytes.
//!
//! Memory for the nodes that a change needs is allocated before the change begins, so a change
//! cannot fail half way. The published crate and `rangemap` use a `BTreeMap`, whose insertion
//! cannot report a failed allocation. `sweep-bptree` 0.4 can keep the largest gap in its nodes, but
//! aborts if an allocation fails, too.
//!
//! # Lookup without a lock
//!
//! One thread at a time changes the areas. Any other may look one up meanwhile
//! ([`SharedMemorySet::peek`]) without a lock, and without writing anything. A lookup may read a
//! node that is taken out of the tree meanwhile. So a node never moves, and its memory stays a
//! node of this set until the set is dropped. All that a lookup reads are words, which are
//! atomics, so a read beside a write is no data race.
//!
//! Each leaf has a sequence counter, and so has the shape of the tree, which changes when nodes
//! are split or merged. A lookup copies the words of an area, and uses them only if neither
//! counter has changed meanwhile. The keys of inner nodes, where each child ends, have no counter.
//! A lookup that reads a key during a change may search another leaf. It does not find the area
//! there, and misses it.
//!
//! # Two kinds of slots
//!
//! A leaf has a slot for the flags and the backend of each area. A [`MappingBackend`], as
//! published, may own something, and the published methods return references to areas. So the slot
//! of such a backend holds a whole [`MemoryArea`], which is moved when a leaf is split. The leaf
//! has the area's addresses as well, and both copies are changed together. The slot of a
//! [`WordBackend`] holds flags and backend as words. The rest of the tree is common to both.
//!
//! Rejected: a tree of words alone, in which the word of a published area is the address of a box.
//! It would need one kind of slot, and no unsafe code in a leaf. But each `map` and each `unmap`
//! would allocate or free a block, and each area that is read would be one more cache line.
//! `docs/memory-set.md` has figures.
//!
//! # Differences from the published crate
//!
//! - If a backend fails, the addresses of its area and of all later areas keep their flags and
//!   backends. In 0.4.1 `unmap` then panics or loses a part of an area. `protect` ignores the
//!   failure, and `clear` also keeps the areas whose pages it has unmapped.
//! - [`MemorySet::unmap`] calls the backends in the order of addresses. In 0.4.1 areas that lie
//!   across an end of the range come last.
//! - [`MemorySet::protect`] asks `update_flags` only for areas that overlap with the range. In
//!   0.4.1 it also asks for areas before the range and after it.
//! - [`MemorySet::find_free_area`] never returns addresses beyond its limit. In 0.4.1 it does if
//!   areas lie there. It never returns addresses of an area either. In 0.4.1 it does if `align` is
//!   larger than the alignment of the areas.
//! - [`MemorySet::protect`] of no bytes changes nothing. In 0.4.1 it can split an area.
//! - [`MemorySet::find_free_area`] of no bytes returns a free address, too. In 0.4.1 it can return
//!   the start of an area.
//! - The iterator that [`MemorySet::iter`] returns is not `Send`.
//! - [`MemorySet::len`] takes linear time. In 0.4.1 it takes constant time.
//! - A failed allocation is reported as `BadState`. In 0.4.1 the kernel aborts.
//! - `usize` has 64 bits.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the order of a leaf's slots needs a word of 64 bits");

extern crate alloc;

mod area;
mod backend;
mod error;
mod mapping;
mod node;
mod set;
mod shared;
mod sync;
mod tree;

#[cfg(test)]
mod tests;

pub use area::MemoryArea;
pub use backend::{AreaBackend, BackendWords, MappingBackend, WordBackend};
pub use error::{MappingError, MappingResult, NoMemory, ReserveError};
pub use node::slot::{OwnedSlot, WordSlot};
pub use set::MemorySet;
pub use shared::{AreaRef, Reservation, SharedMemorySet};
pub use tree::LeafSnapshot;
