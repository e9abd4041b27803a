//! Backends: how an area gets its frames.
//!
//! A page fault tries [`Backend::fault_in_at_once`] first. If that does not map the page, it
//! calls [`Backend::fault_in`].

mod alloc;
mod grain;
mod linear;
mod preallocated;
mod zeroed;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;
use page_table_multiarch::MappingFlags;

use crate::areas::{Area, Backing, Span};
use crate::machine::Machine;
use crate::page_table::frames::Table;
use crate::tlb::gather::TlbGather;
pub use grain::Grain;
pub(crate) use preallocated::PreallocatedFrames;

/// How an area gets its frames.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    /// Each page is mapped to the physical address at a fixed offset, when the area is mapped.
    /// The area does not own the frames.
    Linear {
        /// The virtual address minus the physical address.
        pa_va_offset: usize,
    },
    /// Each page is mapped to a fresh frame full of zeroes, which is freed when the page is
    /// unmapped.
    Alloc {
        /// Whether all frames are allocated when the area is mapped. Otherwise each is
        /// allocated at the first access to its page.
        populate: bool,
        /// How much each page fault maps.
        grain: Grain,
    },
}

/// The kinds of backends, in the first word of [`Backing::pack`].
const LAZY: usize = 0;
const POPULATED: usize = 1;
const LINEAR: usize = 2;

impl Backend {
    /// Returns a linear backend. Physical addresses are virtual addresses minus `pa_va_offset`.
    pub const fn new_linear(pa_va_offset: usize) -> Self {
        Self::Linear { pa_va_offset }
    }

    /// Returns an allocated backend. Frames are allocated when the area is mapped (`populate`),
    /// or one by one at the first access to their pages.
    pub const fn new_alloc(populate: bool) -> Self {
        Self::Alloc {
            populate,
            grain: Grain::Page,
        }
    }

    /// Maps the pages that a new area has from the start, if any.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory`. Pages that were mapped until then have been unmapped again, and
    /// are in `undo`.
    pub(crate) fn map<M: Machine>(
        &self,
        table: &Table<M>,
        span: Span,
        flags: MappingFlags,
        undo: &mut TlbGather<M>,
    ) -> AxResult {
        match *self {
            Self::Linear { pa_va_offset } => {
                linear::map::<M>(table, span, flags, pa_va_offset, undo)
            }
            Self::Alloc {
                populate: false, ..
            } => Ok(()),
            Self::Alloc { grain, .. } => alloc::populate::<M>(table, span, flags, grain, undo),
        }
    }

    /// Returns whether a new area has no pages until the first access to each.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(
            self,
            Self::Alloc {
                populate: false,
                ..
            }
        )
    }

    /// Returns whether the area owns the frames of its pages.
    pub(crate) fn owns_frames(&self) -> bool {
        matches!(self, Self::Alloc { .. })
    }

    /// Faults in the page at `vaddr` of `area` in the most frequent case: the area has the
    /// grain [`Grain::Page`], a frame is preallocated, and the table for the page exists.
    /// Returns whether it has mapped the page. The rights of the area allow the access.
    #[inline(always)]
    pub(crate) fn fault_in_at_once<M: Machine>(
        area: &Area<Self>,
        table: &Table<M>,
        vaddr: VirtAddr,
        frames: &mut PreallocatedFrames,
    ) -> bool {
        let is_one_page = matches!(
            area.backing(),
            Self::Alloc {
                grain: Grain::Page,
                ..
            }
        );
        is_one_page && alloc::fault_in_at_once::<M>(table, vaddr, area.flags(), frames)
    }

    /// Faults in the page at `vaddr` of `area` with preallocated frames. Returns `None` if the
    /// page has been mapped. Otherwise returns the grain for which the caller must allocate
    /// frames before it tries again; then nothing has changed. The rights of the area allow the
    /// access.
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists` if the page is mapped, with `NoMemory` if there is no frame
    /// for the page or a table, and with `BadAddress` if the backend maps no pages on faults.
    pub(crate) fn fault_in<M: Machine>(
        area: &Area<Self>,
        table: &Table<M>,
        vaddr: VirtAddr,
        frames: &mut PreallocatedFrames,
    ) -> AxResult<Option<Grain>> {
        let Self::Alloc { grain, .. } = *area.backing() else {
            return Err(AxError::BadAddress);
        };
        alloc::fault_in::<M>(table, area, grain, vaddr, frames)
    }
}

impl Backing for Backend {
    fn pack(self) -> [usize; 2] {
        match self {
            Self::Linear { pa_va_offset } => [LINEAR, pa_va_offset],
            Self::Alloc { populate, grain } => {
                let kind = if populate { POPULATED } else { LAZY };
                [kind, grain.pack()]
            }
        }
    }

    fn unpack([kind, value]: [usize; 2]) -> Self {
        match kind {
            LINEAR => Self::Linear {
                pa_va_offset: value,
            },
            _ => Self::Alloc {
                populate: kind == POPULATED,
                grain: Grain::unpack(value),
            },
        }
    }

    /// Returns the same backend: neither kind depends on where in the area a part begins.
    fn at_offset(&self, _offset: usize) -> Self {
        *self
    }

    fn continues(&self, _len: usize, next: &Self) -> bool {
        match (self, next) {
            (Self::Linear { pa_va_offset: a }, Self::Linear { pa_va_offset: b }) => a == b,
            (
                Self::Alloc { populate, grain },
                Self::Alloc {
                    populate: other,
                    grain: others,
                },
            ) => populate == other && grain == others,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_unpacked_as_it_was_packed() {
        let counts = [0, 1, 16, 512, u16::MAX].map(Grain::Around);
        let grains = counts.into_iter().chain([Grain::Page, Grain::Large]);
        let alloc = grains
            .flat_map(|grain| [false, true].map(|populate| Backend::Alloc { populate, grain }));
        let linear = [0, 1, usize::MAX].map(Backend::new_linear);
        for backend in alloc.chain(linear) {
            let unpacked = Backend::unpack(backend.pack());
            assert_eq!(format!("{unpacked:?}"), format!("{backend:?}"));
        }
    }
}
