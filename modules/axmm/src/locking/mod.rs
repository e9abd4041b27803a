//! The locks of an address space. docs/locking.md has the protocol.
//!
//! ```text
//!   shards.rs       an address space in up to 32 shards
//!   turn.rs         how an operation waits for its turn
//!   range_lock.rs   locked ranges, their queue, fault slots        one per shard
//!   index_lock.rs   a spin lock for the areas and for the above    one per shard
//!   overtakes.rs    a count of how fair the queue is, for tests
//! ```
//!
//! Order: a range is locked with its shard's index lock held. An operation over several shards
//! takes the index locks of all of them, in ascending order of addresses, draws its tickets and
//! locks its ranges. Once its ranges are locked, it takes one index lock at a time.

pub mod index_lock;
pub mod overtakes;
pub mod range_lock;
pub mod shards;
pub mod turn;

#[cfg(all(test, loom))]
mod modelled;
