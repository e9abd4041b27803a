//! The one list of features. An application enables what it needs; what it does
//! not enable is not linked.
//!
//! | feature | switches on | brings along |
//! |---|---|---|
//! | `alloc` | `axalloc`: frames and the kernel heap | |
//! | `paging` | `axmm`: the kernel's own page table, mappings on demand | `alloc` |
//! | `maps` | with `paging`, the kernel's address space on the console at the end | |
//! | `irq` | the timer, and calls between harts | |
//! | `multitask` | `axtask`: threads, with priority to none | `irq`, `paging` |
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
