//! The list of features. An application enables the features that it needs. Modules whose
//! features are not enabled are not linked.
//!
//! | feature | adds | also enables |
//! |---|---|---|
//! | `alloc` | `axalloc`: frames and the kernel heap | |
//! | `paging` | `axmm`: the kernel's own page table, and mappings made on demand | `alloc` |
//! | `maps` | with `paging`, prints the kernel's address space when the machine ends | |
//! | `overtakes` | for tests, counts how often a later change of mappings gets its lock before a waiting earlier one | `paging` |
//! | `irq` | the timer, and calls between harts | |
//! | `multitask` | `axtask`: threads, all of the same priority | `irq`, `paging` |
//! | `objects` | with `paging`, memory objects, forks of address spaces and copy-on-write | `paging` |
//! | `uspace` | user mode | `multitask`, `objects` |
//! | `smp` | every hart of the machine | `irq` |
#![no_std]
#![cfg(any(target_os = "none", target_os = "linux"))]

#[cfg(feature = "alloc")]
pub use axalloc;
pub use axhal;
pub use axlog;
#[cfg(feature = "paging")]
pub use axmm;
pub use axruntime;
#[cfg(feature = "multitask")]
pub use axtask;
