//! The page table.
//!
//! A page table is a tree of tables, and each table fills one frame. The entries of level 0 map
//! pages of 4 KiB. An entry of a higher level leads to a table of the level below, or maps a large
//! page. The highest table is the root.
//!
//! ```text
//!   kernel_half   entries of one root that other roots copy
//!   map           mapping a range, and one page for a page fault
//!   unmap         unmapping, and freeing tables that become empty
//!   protect       changing the rights of pages
//!   split         large pages become tables of smaller pages
//!   share         tables that several page tables share, after a fork
//!   fork          sharing tables with a child
//!   visit         visiting tables and pages
//!   frames        the page table of a machine, with frames from `axalloc`
//!   table         PageTable: how it is made, walked down, and freed
//!   spare         frames for tables, allocated before anything changes
//!   flusher       Flusher: what an operation reports
//!   owners        FrameOwners: frames with several owners
//!   entry         atomic accesses to entries
//! ```
//!
//! It uses the entry formats ([`GenericPTE`]) and the metadata ([`PagingMetaData`]) of
//! `page_table_multiarch`, but not `PageTable64Cursor`, with which that crate changes page tables.
//! This page table
//!
//! - walks once for a whole range, and maps the largest pages that fit;
//! - writes contiguous entries in one loop, after one fence;
//! - leaves the table as it was when an operation fails;
//! - frees a table when its last entry is cleared;
//! - reports to a [`Flusher`] what must be flushed before it is reused. Fresh mappings need no
//!   flush, and are not reported.
//!
//! The cursor of version 0.6.2 walks from the root for every page, requests a TLB flush for
//! every fresh mapping, and never frees a table that has become empty. On aarch64 it mistakes a
//! zero entry for a large page, and on loongarch64 it mistakes an entry that leads to a table for
//! an empty entry.
//!
//! # Several harts at a time
//!
//! Many harts may change one page table at the same time. Each operation (map, unmap, protect)
//! has locked its range, in which no other operation runs and no page fault maps a page. But
//! operations on neighbouring ranges share tables. Therefore:
//!
//! - an empty entry is made to lead to a table by compare-and-swap;
//! - a table is freed only if the operation has locked all that it translates, so that no fault of
//!   another hart fills it. On one hart less is locked, so interrupts are disabled meanwhile: an
//!   interrupt handler could fault a page into it, beside the locked range ([`Flusher::disable_irqs_if_exclusive`]).
//!
//! Page faults lock no range, so several may map pages of one range at the same time
//! ([`map_page`](PageTable::map_page), [`map_with_tables`](PageTable::map_with_tables)). They
//! only fill empty entries, by compare-and-swap. If two race for an entry, the first page stays.
//!
//! # Entries
//!
//! An entry of all zeroes is empty, whatever the format says about it. A page without rights has
//! an entry that holds the address of its frame, but is not present for the hardware. On a level
//! above 0, such an entry would look like one that leads to a table. So large pages always have
//! rights, and are split before they lose them.
//!
//! [`GenericPTE`]: page_table_multiarch::GenericPTE
//! [`PagingMetaData`]: page_table_multiarch::PagingMetaData

mod entry;
mod flusher;
#[cfg(feature = "objects")]
mod fork;
pub mod frames;
mod kernel_half;
mod map;
mod owners;
mod protect;
mod share;
mod spare;
mod split;
mod table;
mod unmap;
mod visit;

#[cfg(all(test, loom, feature = "objects", target_arch = "x86_64"))]
mod interleavings;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

pub use flusher::Flusher;
pub use map::FrameSource;
pub use owners::FrameOwners;
pub use protect::Protection;
pub use share::{FoundPage, Lookup};
pub use spare::SpareTables;
pub use table::{Page, PageTable};
pub use visit::{MAX_LEVELS, VisitPosition, Visited};
