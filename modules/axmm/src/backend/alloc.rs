//! Fresh zeroed frames.

use axalloc::{UsageKind, alloc_frame_zeroed};
use axerrno::AxResult;
use memory_addr::{PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::areas::Span;
use crate::machine::Machine;
use crate::table::Table;
use crate::tlb::TlbGather;

/// Maps every page of `span`, where none is mapped, to a frame of its own.
pub fn populate<M: Machine>(table: &mut Table<M>, span: Span, flags: MappingFlags) -> AxResult {
    let mut frame_for = |_: VirtAddr, size: usize| {
        if size > PAGE_SIZE_4K {
            return Ok(None);
        }
        alloc_frame_zeroed(UsageKind::VirtMem).map(|frame| Some(frame.into_raw()))
    };
    table.map(span, flags, &mut frame_for, &mut TlbGather::<M>::new(true))
}
