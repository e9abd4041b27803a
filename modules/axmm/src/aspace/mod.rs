//! Address spaces: what each virtual address means, and the operations that change it.
//!
//! ```text
//!   space.rs        AddrSpace: its parts, making and dropping one
//!   checks.rs       which ranges and rights a caller may ask for
//!   query.rs        what is mapped, and lookups that never wait
//!     resident.rs       how much memory is mapped, and how much of it others have
//!     shown_object.rs   the memory object that an area shows
//!   free_area.rs    where something can be mapped
//!
//!   operation.rs    how an operation goes: begin, prepare, change, flush, settle
//!     map.rs, unmap.rs, protect.rs, sharing.rs, duplicate.rs     one operation each
//!     fork.rs, unshare.rs   copy-on-write: sharing pages with a child, and copying them
//!   objects.rs      memory objects: mapping them, page faults
//!     take_pages.rs     an object takes its pages away
//!   write_guard.rs  a range of one shard, locked for an operation
//!     lock_shards.rs    ranges of several shards, locked together
//!     empty_tables.rs   page tables that an operation has emptied
//!     stretches.rs      parts of a range whose pages own their frames
//!   read_guard.rs   the areas of a shard, to look at
//!
//!   fault.rs        page faults
//!     resolve.rs        one attempt to resolve a fault
//!     fault_slot.rs     how a fault keeps operations away from its page
//!   user_copy.rs    copies into and out of an address space
//!   code.rs         instruction fetches see what was written
//! ```
//!
//! docs/locking.md has the protocol between operations and page faults.

mod checks;
mod code;
mod duplicate;
mod empty_tables;
mod fault;
mod fault_slot;
#[cfg(feature = "objects")]
mod fork;
mod free_area;
mod lock_shards;
mod map;
#[cfg(not(feature = "objects"))]
#[path = "no_objects.rs"]
mod objects;
#[cfg(feature = "objects")]
mod objects;
mod operation;
mod protect;
mod query;
mod read_guard;
mod resident;
mod resolve;
mod sharing;
mod shown_object;
mod space;
mod stretches;
#[cfg(feature = "objects")]
mod take_pages;
mod unmap;
mod unshare;
mod user_copy;
pub(crate) mod write_guard;

pub use self::fault::Fault;
#[cfg(feature = "objects")]
pub use self::objects::Sharing;
pub use self::resident::Resident;
pub use self::shown_object::ShownObject;
pub use self::space::{AddrSpace, TableView};
