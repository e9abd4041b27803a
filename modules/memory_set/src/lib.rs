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
//! With `n` areas the tree has at most `1 + log16(n / 7)` levels of inner nodes. To find, add or
//! remove an area visits one node on each level. While work goes on in the same leaf it visits
//! that leaf alone, because the tree remembers the path to it. A gap is found by the largest gap
//! below each child, in at most two visits to each level. If an alignment above that of the areas
//! is asked for, gaps can be large enough and still not fit. Each of them is visited, but none of
//! `size + align` bytes or more can be among them.
//!
//! Memory for the nodes that a change needs is allocated before the change begins, so a change
//! cannot fail half way. That is why the tree is not a `BTreeMap`, as in the published crate and in
//! `rangemap`: its insertion cannot report that there is no memory. `sweep-bptree` 0.4 can keep
//! the largest gap in its nodes, but aborts without memory, too.
//!
//! # Lookup without a lock
//!
//! One thread at a time changes the areas. Any other may look one up meanwhile
//! ([`SharedMemorySet::peek`]) without a lock, and without writing anything. A node never moves,
//! and its memory stays a node until the set is dropped. All that a lookup reads are words, which
//! are atomics, so a read beside a write is no data race. Each leaf has a sequence counter, and so
//! has the shape of the tree, which changes when nodes are split or merged. A lookup copies the
//! words of an area, and uses them only if neither counter has changed meanwhile.
//!
//! # Two kinds of slots
//!
//! A leaf has a slot for the flags and the backend of each area. A published backend may own
//! something, and the published methods give out references to areas. So its slot holds a
//! [`MemoryArea`] in place, which is moved when a leaf is split. The slot of a
//! [`WordBackend`] holds words. The rest of the tree is common to both.
//!
//! Rejected: a tree of words alone, in which the word of a published area is the address of a box.
//! It would need one kind of slot, and no unsafe code in a leaf. But each `map` and each `unmap`
//! would allocate or free a block. With a fast allocator that costs a tenth of an operation among
//! ten areas, and with others more than the rest. A search would also read one more cache line.
//!
//! # Differences from the published crate
//!
//! - A change that fails leaves areas whose pages were not changed as they were. In 0.4.1 `unmap`
//!   panics if a backend fails, and `protect` ignores it.
//! - [`MemorySet::find_free_area`] never returns addresses beyond its limit. In 0.4.1 it does if
//!   areas lie there. It never returns addresses of an area either. In 0.4.1 it does if `align` is
//!   larger than the alignment of the areas.
//! - [`MemorySet::protect`] of no bytes changes nothing. In 0.4.1 it can split an area.
//! - [`MemorySet::len`] counts the areas. In 0.4.1 it knows their number.
//! - Memory that cannot be allocated is reported as `BadState`. In 0.4.1 the kernel aborts.
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
