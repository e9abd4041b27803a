//! Memory: who has how much, runs of frames, and, with the feature `paging`,
//! mappings in the kernel's address space.

#[cfg(feature = "paging")]
mod mapping;

pub use axfeat::axalloc::{
    AxError, AxResult, Frames, SharedFrames, Usage, UsageKind, alloc_frame, alloc_frame_zeroed,
    alloc_frames, alloc_frames_zeroed, largest_free_run, usage,
};
pub use axfeat::axhal::hart::guard_of;
pub use axfeat::axhal::mem::{IMAGE_IS_IN_RAM, MemRegionFlags, Section, sections};
pub use axfeat::axhal::{Inventory, RawRange, inventory};

#[cfg(feature = "paging")]
pub use axfeat::axmm::{
    AddrSpace, Fault, Grain, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, SharedAspace, USER_BASE,
    VirtAddrRange, init_memory_management_secondary as load_kernel_aspace, new_kernel_aspace,
    new_user_aspace, print_maps, sync_icache,
};
/// How often changes of mappings that waited for others have been overtaken, since boot.
#[cfg(feature = "overtakes")]
pub use axfeat::axmm::{Overtaken, overtaken};
#[cfg(feature = "paging")]
pub use mapping::{Mapping, MappingFlags, kernel_aspace};

/// The physical address of what lies in the linear mapping at `vaddr`: the
/// kernel image, the heap, frames.
pub fn virt_to_phys(vaddr: usize) -> usize {
    axfeat::axhal::mem::virt_to_phys(vaddr.into()).into()
}

/// The address of physical address `paddr` in the linear mapping, whether or not anything
/// is mapped there.
pub fn phys_to_virt(paddr: usize) -> usize {
    axfeat::axhal::mem::phys_to_virt(paddr.into()).into()
}

/// What harts have made one another forget, since boot.
#[cfg(feature = "paging")]
pub use axfeat::axhal::tlb::{Counters as TlbCounters, counters as tlb_counters};

/// The physical address of the page table this hart runs on.
#[cfg(feature = "paging")]
pub fn page_table_root() -> usize {
    axfeat::axhal::paging::kernel_root().into()
}

/// What harts make one another forget.
#[cfg(feature = "paging")]
pub mod tlb {
    pub use axfeat::axhal::tlb::{Counters, EVERYTHING, counters, flush_here};
}

/// Accesses that may fault, and come back all the same.
pub mod probe {
    pub use axfeat::axhal::probe::{can_execute, can_read, can_write, read};
}
