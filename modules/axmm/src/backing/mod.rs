//! How an area gets its frames.

mod alloc;
mod linear;

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;
use page_table_multiarch::MappingFlags;

use crate::areas::{Area, Backing, Span};
use crate::machine::Machine;
use crate::page_table::frames::Table;
use crate::tlb::gather::TlbGather;
pub use alloc::Grain;
pub(crate) use alloc::Hand;

/// How an area gets its frames.
#[derive(Clone, Copy, Debug)]
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
        /// How much each page fault brings.
        grain: Grain,
    },
}

/// The first word of a backend.
const LAZY: usize = 0;
const POPULATED: usize = 1;
const LINEAR: usize = 2;

impl Backend {
    /// One to one, `pa_va_offset` below the virtual addresses.
    pub const fn new_linear(pa_va_offset: usize) -> Self {
        Self::Linear { pa_va_offset }
    }

    /// Fresh zeroed frames, taken all at once (`populate`) or page by page.
    pub const fn new_alloc(populate: bool) -> Self {
        Self::Alloc {
            populate,
            grain: Grain::Page,
        }
    }

    /// Maps what a new area has from the start.
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing has changed.
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

    /// Whether a new area has nothing from the start.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(
            self,
            Self::Alloc {
                populate: false,
                ..
            }
        )
    }

    /// Whether the frames behind the area's pages are its own.
    pub(crate) fn owns_frames(&self) -> bool {
        matches!(self, Self::Alloc { .. })
    }

    /// Brings the page at `vaddr` of `area`, whose rights allow the access, where it is
    /// most of the time: one page, for which a frame is in hand. Answers whether it has.
    #[inline(always)]
    pub(crate) fn fault_at_once<M: Machine>(
        area: &Area<Self>,
        table: &Table<M>,
        vaddr: VirtAddr,
        hand: &mut Hand,
    ) -> bool {
        let one = matches!(
            area.backing(),
            Self::Alloc {
                grain: Grain::Page,
                ..
            }
        );
        one && alloc::bring_at_once::<M>(table, vaddr, area.flags(), hand)
    }

    /// Brings the page at `vaddr` of `area`, whose rights allow the access, from the
    /// frames in hand. Answers what should be in hand first, if it has not been asked
    /// for.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the page is there, `NoMemory`, or `BadAddress` where
    /// this backend never brings one.
    pub(crate) fn fault<M: Machine>(
        area: &Area<Self>,
        table: &Table<M>,
        vaddr: VirtAddr,
        hand: &mut Hand,
    ) -> AxResult<Option<Grain>> {
        let Self::Alloc { grain, .. } = *area.backing() else {
            return Err(AxError::BadAddress);
        };
        alloc::bring::<M>(table, area, grain, vaddr, hand)
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

    /// Neither kind depends on where in the area a part begins.
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
