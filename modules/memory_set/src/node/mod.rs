//! The nodes of the tree, and what they are made of.
//!
//! ```text
//!   leaf.rs        up to 15 areas                inner.rs     up to 32 children
//!   order.rs       the order of a leaf's slots   extent.rs    what a parent knows of a child
//!   slot.rs        an area's flags and backend   pool.rs      nodes by number
//!   seq_count.rs   the sequence counter          word.rs      words and links
//! ```

pub mod extent;
pub mod inner;
pub mod leaf;
pub mod order;
pub mod pool;
pub mod seq_count;
pub mod slot;
pub mod word;
