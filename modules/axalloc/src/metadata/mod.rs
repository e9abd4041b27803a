//! Frame metadata: the 8 bytes that the allocator keeps for each frame.
//!
//! They are two words of 32 bits. The two lowest bits of the lower word are a tag, which says
//! what the rest means. In the boxes, the last column is the value of the tag. The number after
//! a name is the field's width in bits:
//!
//! ```text
//!    upper                      lower
//! +------------+-------+   +------------------+------+---+
//! | next    27 | order |   | prev          27 |      | 1 |  the first frame of a free block
//! +------------+-------+   +------------------+------+---+
//! | references         |   | frames        26 | kind | 2 |  the first frame of a counted run
//! +--------------------+   +------------------+------+---+
//! | frames             |   | next          27 | kind | 3 |  the first frame of a listed run
//! +--------------------+   +------------------+------+---+
//! |                    |   |                         | 0 |  any other frame
//! +--------------------+   +------------------+------+---+
//! ```
//!
//! - A **free block** is on a list of the buddy system ([`free_block`]).
//! - A **counted run** has a reference count. Its owners are `SharedFrames` handles, and
//!   addresses that were returned by `into_raw` ([`references`]).
//! - A **listed run** waits in a `FrameList` to be freed ([`list_link`]).
//!
//! `prev` and `next` are frame numbers, or [`NO_FRAME`]. The links are here and not in the
//! frames themselves for two reasons. A stray write into a free frame cannot corrupt them.
//! A listed frame may still be written by user code until its translations are flushed.
//!
//! Each state has its own rule about who may change the record. The record of a free block is
//! changed only under the lock of the global pool. The record of a counted run is changed only
//! by holders of a reference. The record of a listed run is changed only through its list.

#[cfg(not(all(loom, test)))]
mod free_block;
#[cfg(all(test, loom))]
mod interleavings;
mod layout;
mod list_link;
mod references;
#[cfg(not(all(loom, test)))]
mod table;

pub(crate) use layout::FrameMeta;
#[cfg(not(all(loom, test)))]
pub(crate) use layout::NO_FRAME;
pub(crate) use references::{CountedRun, Released};
#[cfg(not(all(loom, test)))]
pub(crate) use table::MetadataTable;
