//! How an area gets its frames.

mod alloc;
mod linear;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;
use page_table_multiarch::MappingFlags;

use crate::areas::{Area, Backing, Span};
use crate::machine::Machine;
use crate::table::Table;

/// How an area gets its frames.
#[derive(Clone, Debug)]
pub enum Backend {
    /// One to one, from given physical addresses on, all at once; the frames
    /// are somebody else's.
    Linear {
        /// What to subtract from a virtual address to get the physical one.
        pa_va_offset: usize,
    },
    /// Fresh zeroed frames, which go when the mapping goes: all at once
    /// (`populate`), or each at the first touch of its page.
    Alloc {
        /// Whether the frames are taken when the area is mapped.
        populate: bool,
    },
}

impl Backend {
    /// Maps what a new area has from the start.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
    pub(crate) fn map<M: Machine>(
        &self,
        table: &mut Table<M>,
        span: Span,
        flags: MappingFlags,
    ) -> AxResult {
        match *self {
            Self::Linear { pa_va_offset } => linear::map::<M>(table, span, flags, pa_va_offset),
            Self::Alloc { populate: true } => alloc::populate::<M>(table, span, flags),
            Self::Alloc { populate: false } => Ok(()),
        }
    }

    /// Whether the frames behind the area's pages are its own.
    pub(crate) fn owns_frames(&self) -> bool {
        matches!(self, Self::Alloc { .. })
    }

    /// Brings the page at `vaddr` of `area`, whose rights allow the access.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the page is there, `NoMemory`, or `BadAddress` where
    /// this backend never brings one.
    #[inline(always)]
    pub(crate) fn fault<M: Machine>(
        area: &Area<Self>,
        table: &mut Table<M>,
        vaddr: VirtAddr,
    ) -> AxResult {
        match area.backing() {
            Self::Linear { .. } => Err(AxError::BadAddress),
            Self::Alloc { .. } => alloc::bring::<M>(table, vaddr, area.flags()),
        }
    }
}

impl Backing for Backend {
    /// Neither kind depends on where in the area a part begins.
    fn at_offset(&self, _offset: usize) -> Self {
        self.clone()
    }

    fn continues(&self, _len: usize, next: &Self) -> bool {
        match (self, next) {
            (Self::Linear { pa_va_offset: a }, Self::Linear { pa_va_offset: b }) => a == b,
            (Self::Alloc { populate: a }, Self::Alloc { populate: b }) => a == b,
            _ => false,
        }
    }
}
