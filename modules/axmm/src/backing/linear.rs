//! The linear backend: physical addresses are virtual addresses minus an offset. The mapping
//! does not own the frames.

use core::marker::PhantomData;
use core::ops::Range;

use axerrno::AxResult;
use memory_addr::{MemoryAddr, PhysAddr};
use page_table_multiarch::MappingFlags;

use crate::machine::Machine;
use crate::page_table::FrameSource;
use crate::page_table::frames::PageTableOf;
use crate::tlb::gather::TlbGather;

/// Maps `span` to the physical addresses that are `pa_va_offset` below, with the largest pages
/// to which both addresses are aligned.
///
/// # Errors
///
/// Fails with `NoMemory` if there is no frame for a table. Pages that were mapped until then
/// have been unmapped again, and are in `undo`.
pub fn map<M: Machine>(
    table: &PageTableOf<M>,
    span: Range<usize>,
    flags: MappingFlags,
    pa_va_offset: usize,
    undo: &mut TlbGather<M>,
) -> AxResult {
    let mut source = LinearFrames::<M> {
        pa_va_offset,
        _machine: PhantomData,
    };
    table.map(span, flags, &mut source, undo)
}

/// The frames at a fixed offset from the virtual addresses.
struct LinearFrames<M> {
    pa_va_offset: usize,
    _machine: PhantomData<M>,
}

impl<M> LinearFrames<M> {
    fn paddr(&self, vaddr: usize) -> PhysAddr {
        PhysAddr::from_usize(vaddr.wrapping_sub(self.pa_va_offset))
    }
}

impl<M: Machine> FrameSource for LinearFrames<M> {
    fn prepare(&mut self, vaddr: usize, size: usize) -> bool {
        self.paddr(vaddr).is_aligned(size)
    }

    fn frames(&mut self, vaddr: usize, _size: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        M::poll();
        Ok((self.paddr(vaddr), count))
    }
}
