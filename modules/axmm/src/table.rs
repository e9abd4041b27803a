//! This machine's page table: its format, and frames for it from `axalloc`.

use axalloc::{Frames, UsageKind, alloc_frames};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::PagingHandler;

use crate::pagetable::PageTable;

/// This machine's page table.
pub type Table = PageTable<axhal::paging::PagingMeta, axhal::paging::Pte, TableFrames>;

/// Frames for page tables, from `axalloc`.
pub struct TableFrames;

impl PagingHandler for TableFrames {
    fn alloc_frames(num: usize, align: usize) -> Option<PhysAddr> {
        let frames = alloc_frames(num, align, UsageKind::PageTable).ok()?;
        Some(frames.into_raw())
    }

    fn dealloc_frames(paddr: PhysAddr, _num: usize) {
        // SAFETY: a page table frees exactly what it got from `alloc_frames`.
        drop(unsafe { Frames::from_raw(paddr) });
    }

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        axhal::mem::phys_to_virt(paddr)
    }
}
