//! The locks of an address space. docs/locking.md has the protocol.
//!
//! ```text
//!   shards.rs       an address space in up to 32 shards
//!   turn.rs         how an operation waits for its turn
//!   range_lock.rs   locked ranges, their queue, fault slots        one per shard
//!   index_lock.rs   a spin lock for areas and the range lock       one per shard
//!   overtakes.rs    a count of how fair the queue is, for tests
//! ```
//!
//! Order: a range is marked as locked with its shard's index lock held. Its holder then frees the
//! index lock, and takes it again while the range stays locked. No hart waits for a range with an
//! index lock held.
//!
//! An operation over several shards takes the index locks of all of them, in ascending order of
//! addresses. Then it draws its tickets and locks its ranges. Once its ranges are locked, it takes
//! one index lock at a time.

pub mod index_lock;
pub mod overtakes;
pub mod range_lock;
pub mod shards;
pub mod turn;

#[cfg(all(test, loom))]
pub mod modelled;
