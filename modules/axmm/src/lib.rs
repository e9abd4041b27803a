//! The virtual-memory module: address spaces, and what each virtual address means.
//!
//! ```text
//!   kernel/       the kernel's address space, user programs', the page-fault handler
//!   report/       listings of an address space
//!   aspace/       AddrSpace: one file for each operation, page faults, copies
//!   vmo/          memory objects: memory that exists apart from any address (feature `objects`)
//!   locking/      range locks, index locks, shards
//!   backing/      how an area gets its frames
//!   memory_set    a crate: what is mapped where, with which rights; gaps
//!   tlb/          what must be flushed, by which harts, before frames are freed
//!   page_table/   the hardware's view, changed a range at a time
//!   machine.rs    what an address space needs of its machine
//! ```
//!
//! A folder uses what is below it in this list. `addr.rs`, `atomic.rs`, `boxed.rs` and
//! `zero_frame.rs` are below all of them. docs/glossary.md explains the terms.
//!
//! The kernel's own address space (`kernel_aspace`) is built at boot and loaded on every hart.
//! Its upper part, from [`axconfig::KERNEL_MAP_BASE`] on, is for mappings made on demand. The
//! kernel's address space exists with the feature `hal` only. Without that feature, tests build
//! address spaces of any [`Machine`] in a plain process.
//!
//! Promises:
//!
//! - An operation that fails has changed no mapping.
//! - No kernel mapping is writable and executable.
//! - A frame is freed only after every hart has flushed the pages that mapped it.
//!
//! | lock | guards | a hart that waits for it may hold |
//! |---|---|---|
//! | `SharedAspace::lock` | a sequence of operations, against other callers of `lock` | no lock of axmm |
//! | an object's turn | an operation, against the other operations of a memory object | `SharedAspace::lock` |
//! | a range lock | pages, tables and areas of a range | the locks above |
//! | an index lock | the areas of a shard, and which ranges are locked | the locks above, index locks of lower shards |
//! | a hart's fault slot | the page that the hart faults in | the locks above |
//! | an object's state | the pages, the length and the pins of a memory object; its mappings | the locks above |
//! | the locks of `axalloc` | frames, heap | the locks above |
//!
//! A range is locked with the index lock held, but a hart that waits for a range has freed the
//! index lock. A hart that holds a lock or the fault slot of a user program's address space may
//! take locks and the fault slot of the kernel's address space. The reverse is not allowed.
//!
//! docs/locking.md has the protocol. A hart that waits for another acknowledges flush requests
//! meanwhile ([`Machine::relax`]), because the other may be waiting for that. But a hart that
//! spins for a lock of another module, with interrupts disabled, need not acknowledge them. So a
//! caller must hold no such lock.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod addr;
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
#[cfg(feature = "objects")]
pub mod vmo;
mod zero_frame;

#[cfg(feature = "objects")]
pub use aspace::Sharing;
pub use aspace::{AddrSpace, Fault, Resident, ShownObject, TableView};
pub use axconfig::{KERNEL_MAP_BASE, KERNEL_OWNED_BASE, USER_BASE};
pub use backing::{Backend, Grain};
#[cfg(feature = "hal")]
pub use kernel::{
    AspaceGuard, SharedAspace, init_memory_management, init_memory_management_secondary,
    kernel_aspace, kernel_page_table_root, new_kernel_aspace, new_user_aspace, print_maps,
    print_maps_of, sync_icache,
};
#[cfg(feature = "overtakes")]
pub use locking::overtakes::{Overtaken, overtaken};
pub use machine::{Machine, ThisMachine};
pub use memory_addr::{PhysAddr, VirtAddr, VirtAddrRange};
pub use memory_set::MemoryArea;
pub use page_table::Page;
pub use page_table_multiarch::MappingFlags;
#[cfg(not(target_os = "none"))]
#[doc(hidden)]
pub use zero_frame::{init as init_zero_frame, zero_frame};

use axerrno::AxError;
use page_table_multiarch::PagingError;

/// Returns the `AxError` for an error of `page_table_multiarch`.
pub fn mapping_err_to_ax_err(error: PagingError) -> AxError {
    match error {
        PagingError::NoMemory => AxError::NoMemory,
        PagingError::AlreadyMapped => AxError::AlreadyExists,
        PagingError::NotMapped => AxError::NotFound,
        PagingError::NotAligned | PagingError::MappedToHugePage => AxError::InvalidInput,
    }
}
