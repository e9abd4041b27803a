//! A Linux process on x86_64. Each name means what it means on a machine:
//!
//! ```text
//!   a trap           a signal, taken on a stack of its own (`trap_entry`)
//!   the TLB          the process's mappings of physical memory (`tlb`)
//!   a page walker    the handler of SIGSEGV (`trap_entry`, `paging`)
//!   the lower half   belongs to one address space at a time (`user`)
//!   an interrupt     taken where a hart waits: `wait_for_irqs`
//! ```
//!
//! Code that also runs in the processor's user mode is that of `x86_64`: switches between
//! threads, zeroing, probes, copies.

#[cfg(feature = "multitask")]
#[path = "../x86_64/context.rs"]
mod context;
#[cfg(feature = "paging")]
#[path = "../x86_64/copy.rs"]
mod copy;
mod frame;
mod interrupts;
#[cfg(feature = "paging")]
mod paging;
#[path = "../x86_64/probe.rs"]
mod probe;
#[cfg(feature = "paging")]
mod tlb;
#[cfg(feature = "paging")]
mod user;
#[path = "../x86_64/zero.rs"]
mod zero;

#[cfg(feature = "multitask")]
pub use context::*;
#[cfg(feature = "paging")]
pub use copy::{probe_copy, probe_copy_end};
pub use frame::{TrapFrame, capture};
pub use interrupts::*;
#[cfg(feature = "paging")]
pub use paging::{
    ONE_ROOT, PagingMeta, Pte, clean_code, largest_page, needs_cleaning, page_mark,
    publish_entries, read_root, refetch_instructions, remote_refetch_instructions, write_root,
};
#[cfg(feature = "paging")]
pub(crate) use paging::{Walked, is_translated, walk_for};
pub use probe::{probe_execute, probe_read, probe_write};
#[cfg(all(feature = "multitask", feature = "paging"))]
pub use tlb::flush_fresh;
#[cfg(feature = "paging")]
pub use tlb::{
    FLUSHES_EVERY_HART, MAX_PAGE_FLUSHES, flush_all_asids, flush_tlb_all, flush_tlb_page,
    remote_flush,
};
#[cfg(feature = "paging")]
pub use user::{claim_user, enter_user, flush_asid, leave_user, max_asid};
pub use zero::{init_zeroing, zero_pages};
