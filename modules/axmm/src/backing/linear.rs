//! One to one: the frames are somebody else's, and are there already.

use core::marker::PhantomData;

use axerrno::AxResult;
use memory_addr::{MemoryAddr, PhysAddr};
use page_table_multiarch::MappingFlags;

use crate::areas::Span;
use crate::machine::Machine;
use crate::page_table::Source;
use crate::page_table::frames::Table;
use crate::tlb::gather::TlbGather;

/// Maps `span` with the largest pages that fit both addresses.
pub fn map<M: Machine>(
    table: &Table<M>,
    span: Span,
    flags: MappingFlags,
    pa_va_offset: usize,
    undo: &mut TlbGather<M>,
) -> AxResult {
    let mut source = OneToOne::<M> {
        pa_va_offset,
        _machine: PhantomData,
    };
    table.map(span, flags, &mut source, undo)
}

/// The physical addresses that are so far from the virtual ones.
struct OneToOne<M> {
    pa_va_offset: usize,
    _machine: PhantomData<M>,
}

impl<M> OneToOne<M> {
    fn paddr(&self, vaddr: usize) -> PhysAddr {
        PhysAddr::from_usize(vaddr.wrapping_sub(self.pa_va_offset))
    }
}

impl<M: Machine> Source for OneToOne<M> {
    fn fits(&mut self, vaddr: usize, size: usize) -> bool {
        self.paddr(vaddr).is_aligned(size)
    }

    fn frames(&mut self, vaddr: usize, _size: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        M::poll();
        Ok((self.paddr(vaddr), count))
    }
}
