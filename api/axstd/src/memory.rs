//! Memory: who has how much, runs of frames, and, with the feature `paging`,
//! the kernel's address space.

pub use axfeat::axalloc::{Frames, Usage, UsageKind, largest_free_run, usage};
pub use axfeat::axhal::mem::{Section, sections};

#[cfg(feature = "paging")]
pub use axfeat::axmm::{KernelAspace, MappingFlags, kernel_aspace};

/// Accesses that may fault, and come back all the same.
pub mod probe {
    pub use axfeat::axhal::probe::{can_execute, can_read, can_write};
}
