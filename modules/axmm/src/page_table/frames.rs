//! The page table of a machine, with the frames of its tables from `axalloc`.

use axalloc::{Frames, UsageKind, alloc_frames_zeroed};
use axconfig::PHYS_VIRT_OFFSET;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::PagingHandler;

use crate::machine::Machine;
use crate::page_table::PageTable;

/// The type of the page tables of machine `M`.
pub type PageTableOf<M> = PageTable<<M as Machine>::Meta, <M as Machine>::Pte, TableFrames>;

/// Allocates the frames of tables, full of zeroes, from `axalloc`.
pub struct TableFrames;

impl PagingHandler for TableFrames {
    fn alloc_frames(num: usize, align: usize) -> Option<PhysAddr> {
        let frames = alloc_frames_zeroed(num, align, UsageKind::PageTable).ok()?;
        Some(frames.into_raw())
    }

    fn dealloc_frames(paddr: PhysAddr, _num: usize) {
        // SAFETY: a page table frees each frame of a table once, and `alloc_frames` has made
        // all of them by `into_raw`.
        drop(unsafe { Frames::from_raw(paddr) });
    }

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(paddr.as_usize() + PHYS_VIRT_OFFSET)
    }
}
