//! What takes the place of `objects.rs` in a kernel without memory objects.

use core::marker::PhantomData;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;
use memory_set::MemoryArea;

use super::fault::{Fault, FaultRequest, Resolved};
use super::space::AddrSpace;
use crate::backing::{Backend, ObjectArea};
use crate::machine::Machine;

impl<M: Machine> AddrSpace<M> {
    #[inline(always)]
    pub(super) fn resolve_in_object(
        &self,
        _: &MemoryArea<Backend>,
        _: FaultRequest,
    ) -> Option<Resolved> {
        None
    }

    #[cfg(feature = "hal")]
    pub(super) fn end_visit(&self, _: ObjectArea) {}

    pub(super) fn load_object_page(&self, _: ObjectArea, _: VirtAddr) -> Result<(), Fault> {
        Err(Fault::Unmapped)
    }

    pub(super) fn map_object_like(
        &self,
        _: &MemoryArea<Backend>,
        _: ObjectArea,
        _: bool,
    ) -> AxResult {
        Err(AxError::Unsupported)
    }
}

/// No mapping of an object ends.
pub struct EndedMappings<M>(PhantomData<M>);

impl<M> EndedMappings<M> {
    #[inline(always)]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    pub fn unmapped(&self, _: &MemoryArea<Backend>, _: usize) {}
}
