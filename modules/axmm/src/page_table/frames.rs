//! A machine's page table, with frames for it from `axalloc`.

use axalloc::{Frames, UsageKind, alloc_frames_zeroed};
use axconfig::PHYS_VIRT_OFFSET;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::PagingHandler;

use crate::machine::Machine;
use crate::page_table::PageTable;

/// The page table of machine `M`.
pub type Table<M> = PageTable<<M as Machine>::Meta, <M as Machine>::Pte, TableFrames>;

/// Frames for page tables, full of zeroes, from `axalloc`.
pub struct TableFrames;

impl PagingHandler for TableFrames {
    fn alloc_frames(num: usize, align: usize) -> Option<PhysAddr> {
        let frames = alloc_frames_zeroed(num, align, UsageKind::PageTable).ok()?;
        Some(frames.into_raw())
    }

    fn dealloc_frames(paddr: PhysAddr, _num: usize) {
        // SAFETY: a page table frees exactly what it got from `alloc_frames`.
        drop(unsafe { Frames::from_raw(paddr) });
    }

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(paddr.as_usize() + PHYS_VIRT_OFFSET)
    }
}
