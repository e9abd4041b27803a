//! Memory: how much is used for what, frame runs, and, with the feature `paging`, mappings
//! in the kernel's address space. With the feature `objects`, memory objects and forks of
//! address spaces.

#[cfg(feature = "paging")]
mod mapping;

pub use axfeat::axalloc::{
    AxError, AxResult, Frames, SharedFrames, Usage, UsageKind, alloc_frame, alloc_frame_zeroed,
    alloc_frames, alloc_frames_zeroed, largest_free_run, usage,
};
pub use axfeat::axhal::hart::guard_of;
pub use axfeat::axhal::mem::{IMAGE_IS_IN_RAM, MemRegionFlags, Section, sections};
pub use axfeat::axhal::{Inventory, RawRange, inventory};

#[cfg(feature = "objects")]
pub use axfeat::axmm::vmo::{Access, CachePolicy, Committed, PinnedPages, Run, Vmo, VmoKind};
#[cfg(feature = "paging")]
pub use axfeat::axmm::{
    AddrSpace, Fault, Grain, KERNEL_MAP_BASE, KERNEL_OWNED_BASE, Resident, SharedAspace, USER_BASE,
    VirtAddrRange, init_memory_management_secondary as load_kernel_aspace, new_kernel_aspace,
    new_user_aspace, print_maps, print_maps_of, sync_icache,
};
/// How often waiting changes of mappings have been overtaken by others since boot.
#[cfg(feature = "overtakes")]
pub use axfeat::axmm::{Overtaken, overtaken};
#[cfg(feature = "objects")]
pub use axfeat::axmm::{Sharing, ShownObject};
#[cfg(feature = "paging")]
pub use mapping::{Mapping, MappingFlags, kernel_aspace};

/// Returns the physical address of `vaddr`, which must be in the linear mapping. The kernel
/// image, the heap and frames are there.
pub fn virt_to_phys(vaddr: usize) -> usize {
    axfeat::axhal::mem::virt_to_phys(vaddr.into()).into()
}

/// Returns the virtual address of `paddr` in the linear mapping, even if no memory is mapped
/// there.
pub fn phys_to_virt(paddr: usize) -> usize {
    axfeat::axhal::mem::phys_to_virt(paddr.into()).into()
}

/// Counts of TLB flushes and shootdowns since boot.
#[cfg(feature = "paging")]
pub use axfeat::axhal::tlb::{Counters as TlbCounters, counters as tlb_counters};

/// Returns the physical address of the root of this hart's kernel page table.
#[cfg(feature = "paging")]
pub fn page_table_root() -> usize {
    axfeat::axhal::paging::kernel_root().into()
}

/// TLB flushes: counts, and a flush of this hart's TLB.
#[cfg(feature = "paging")]
pub mod tlb {
    pub use axfeat::axhal::tlb::{Counters, EVERYTHING, counters, flush_local};
}

/// Accesses that report a page fault instead of ending the machine.
pub mod probe {
    pub use axfeat::axhal::probe::{can_execute, can_read, can_write, read};
}
