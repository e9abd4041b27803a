//! What every virtual address means.
//!
//! ```text
//!  AddrSpace ── areas     what is mapped where, with which rights     areas/
//!      │    └── backend   how an area gets its frames                 backend/
//!      └─────── PageTable the hardware's view of it, walked by range  pagetable/
//!                  └───── TlbGather  forgotten everywhere, then freed tlb.rs
//!  code.rs                instruction fetches see what was written
//!  Listing                what there is, for people and for programs  listing.rs
//! ```
//!
//! The kernel's own address space ([`kernel_aspace`]) is built at boot from what
//! the machine has, and loaded on every hart. Its upper part, from
//! [`axconfig::KERNEL_MAP_BASE`] on, is for mappings made on demand.
//!
//! With the feature `hal` there is the kernel's own, on the harts of axhal; without it
//! there are only those that tests build, and read back, in a plain process.
//!
//! Promises: an operation that fails has changed nothing. No kernel mapping is
//! writable and executable. A page that has been unmapped is out of every hart's
//! reach before its frame is free.
//!
//! | lock | guards | taken inside |
//! |---|---|---|
//! | [`SharedAspace::lock`] | nothing by itself: several operations are one for its callers | no other lock of axmm |
//! | a range lock | what is mapped in a range | `lock` |
//! | an index lock | the areas of a shard, and its range locks | a range lock |
//! | a hart's fault slot | the page that it faults in | a user program's, then the kernel's |
//! | `axalloc`'s | frames, heap | any |
//!
//! Operations on ranges that do not overlap run side by side (docs/locking.md). A hart that
//! waits for another acknowledges TLB requests meanwhile ([`Machine::relax`]), with
//! interrupts in or out, because the other may be waiting for that. So a caller holds no spin
//! lock, with interrupts out, that a hart in here can be waiting for.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod addr;
pub mod areas;
mod aspace;
mod atomic;
mod backing;
mod boxed;
#[cfg(test)]
mod by_turns;
#[cfg(feature = "hal")]
mod kernel;
mod locking;
mod machine;
mod page_table;
pub mod report;
#[cfg(test)]
mod test_memory;
pub mod tlb;

pub use aspace::{AddrSpace, Fault, TableView};
pub use axconfig::{KERNEL_MAP_BASE, KERNEL_OWNED_BASE, USER_BASE};
pub use backing::{Backend, Grain};
#[cfg(feature = "hal")]
pub use kernel::{
    AspaceGuard, SharedAspace, init_memory_management, init_memory_management_secondary,
    kernel_aspace, kernel_page_table_root, new_kernel_aspace, new_user_aspace, print_maps,
    sync_icache,
};
#[cfg(feature = "overtakes")]
pub use locking::overtakes::{Overtaken, overtaken};
pub use machine::{Machine, ThisMachine};
pub use memory_addr::{PhysAddr, VirtAddr, VirtAddrRange};
pub use page_table::Page;
pub use page_table_multiarch::MappingFlags;

use axerrno::AxError;
use page_table_multiarch::PagingError;

/// The error that a caller gets for one of `page_table_multiarch`'s.
pub fn mapping_err_to_ax_err(error: PagingError) -> AxError {
    match error {
        PagingError::NoMemory => AxError::NoMemory,
        PagingError::AlreadyMapped => AxError::AlreadyExists,
        PagingError::NotMapped => AxError::NotFound,
        PagingError::NotAligned | PagingError::MappedToHugePage => AxError::InvalidInput,
    }
}
