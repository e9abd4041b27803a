//! The page table of a machine, with the frames of its tables from `axalloc`.

use core::mem::ManuallyDrop;

use axalloc::{FrameRun, Frames, UsageKind, alloc_frames_zeroed};
use axconfig::PHYS_VIRT_OFFSET;
use axerrno::{AxError, AxResult};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::PagingHandler;

use crate::machine::Machine;
use crate::page_table::{FrameOwners, PageTable};
use crate::zero_frame::is_zero_frame;

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

impl FrameOwners for TableFrames {
    #[inline]
    fn share(frame: PhysAddr, count: usize) -> AxResult {
        if is_zero_frame(frame) {
            return Ok(());
        }
        let shared = borrowed(frame, count).share();
        shared
            .map(|run| _ = run.into_raw())
            .map_err(|_| AxError::NoMemory)
    }

    #[inline]
    fn share_table(frame: PhysAddr) -> AxResult {
        let shared = borrowed(frame, 1).share_one();
        shared
            .map(|table| _ = table.into_raw())
            .map_err(|_| AxError::NoMemory)
    }

    #[inline(always)]
    fn is_exclusive(frame: PhysAddr, count: usize) -> bool {
        !is_zero_frame(frame) && borrowed(frame, count).is_exclusive()
    }

    fn release_table(frame: PhysAddr) -> bool {
        // SAFETY: an entry of a page table owned the frame, and no longer leads to it. `alloc_frames`
        // has made it by `into_raw`.
        match unsafe { Frames::from_raw(frame) } {
            Some(last) => {
                last.into_raw();
                true
            }
            None => false,
        }
    }

    #[inline]
    fn release_pages(frame: PhysAddr, count: usize) {
        match count {
            _ if is_zero_frame(frame) => {}
            // SAFETY: an entry of a page table owned the frame, as a single frame.
            1 => drop(unsafe { Frames::from_raw(frame) }),
            _ => drop(ManuallyDrop::into_inner(borrowed(frame, count))),
        }
    }
}

/// Returns the run of `count` frames of pages or tables from `frame` on. Its owner is still the
/// entry of a page table.
#[inline]
fn borrowed(frame: PhysAddr, count: usize) -> ManuallyDrop<FrameRun> {
    // SAFETY: an entry of a page table owns each of these frames, as a single frame. The entry
    // stays their owner, because the run is not dropped here.
    ManuallyDrop::new(unsafe { FrameRun::from_raw(frame, count) })
}
