//! One to one: the frames are somebody else's, and are there already.

use axerrno::AxResult;
use memory_addr::{MemoryAddr, PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::areas::Span;
use crate::machine::Machine;
use crate::table::Table;
use crate::tlb::TlbGather;

/// Maps `span` with the largest pages that fit both addresses.
pub fn map<M: Machine>(
    table: &mut Table<M>,
    span: Span,
    flags: MappingFlags,
    pa_va_offset: usize,
) -> AxResult {
    let mut frame_for = |vaddr: VirtAddr, size: usize| {
        let paddr = PhysAddr::from_usize(vaddr.as_usize().wrapping_sub(pa_va_offset));
        Ok(paddr.is_aligned(size).then_some(paddr))
    };
    table.map(span, flags, &mut frame_for, &mut TlbGather::<M>::new(false))
}
