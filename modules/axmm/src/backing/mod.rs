//! Backends: how an area gets its frames.
//!
//! A page fault tries [`Backend::fault_in_at_once`] first. If that does not map the page, it
//! calls [`Backend::fault_in`].

mod alloc;
mod grain;
mod linear;
mod preallocated;
pub mod zeroed;

use core::ops::Range;
use core::{ptr, slice, str};

use axerrno::{AxError, AxResult};
use memory_addr::VirtAddr;
use memory_set::{AreaBackend, BackendWords, MemoryArea, WordBackend, WordSlot};
use page_table_multiarch::MappingFlags;

use crate::machine::Machine;
use crate::page_table::frames::PageTableOf;
use crate::tlb::gather::TlbGather;
pub(crate) use alloc::{copy, copy_frames};
pub use grain::Grain;
pub(crate) use preallocated::PreallocatedFrames;

/// How an area gets its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Each page is mapped to the physical address at a fixed offset, when the area is mapped.
    /// The area does not own the frames.
    Linear {
        /// The virtual address minus the physical address.
        pa_va_offset: usize,
        /// What the memory is called in a listing.
        name: &'static str,
    },
    /// Each page is mapped to a fresh frame full of zeroes, which is freed when the page is
    /// unmapped.
    Alloc {
        /// Whether all frames are allocated when the area is mapped. Otherwise each is
        /// allocated at the first access to its page.
        populate: bool,
        /// How much each page fault maps. With [`Grain::Large`], `populate` uses large pages
        /// where blocks of frames are free.
        grain: Grain,
    },
    /// Each page is mapped to a page of a memory object, at the first access.
    Object(ObjectArea),
}

/// The record of a mapping of a memory object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectArea {
    /// The address of the record (`vmo::mappings::Mapping`).
    pub(crate) record: usize,
    /// Whether writes go to the object. Otherwise pages are copied when they are written.
    pub(crate) is_shared: bool,
}

/// The kinds of backends, in the first word of [`WordBackend::to_words`].
const LAZY: usize = 0;
const POPULATED: usize = 1;
const LINEAR: usize = 2;
const OBJECT: usize = 3;

impl Backend {
    /// Returns a linear backend. Physical addresses are virtual addresses minus `pa_va_offset`.
    pub const fn new_linear(pa_va_offset: usize) -> Self {
        Self::Linear {
            pa_va_offset,
            name: "linear",
        }
    }

    /// Returns an allocated backend. Frames are allocated when the area is mapped (`populate`),
    /// or one by one at the first access to their pages.
    pub const fn new_alloc(populate: bool) -> Self {
        Self::Alloc {
            populate,
            grain: Grain::Page,
        }
    }

    /// Returns what the area is called in a listing.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { name, .. } => name,
            Self::Alloc { .. } => "alloc",
            Self::Object(_) => "object",
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
        table: &PageTableOf<M>,
        span: Range<usize>,
        flags: MappingFlags,
        undo: &mut TlbGather<M>,
    ) -> AxResult {
        match *self {
            Self::Linear { pa_va_offset, .. } => {
                linear::map::<M>(table, span, flags, pa_va_offset, undo)
            }
            Self::Object(_)
            | Self::Alloc {
                populate: false, ..
            } => Ok(()),
            Self::Alloc { grain, .. } => alloc::populate::<M>(table, span, flags, grain, undo),
        }
    }

    /// Returns whether each page of an area is mapped at the first access to it, and not before.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(
            self,
            Self::Object(_)
                | Self::Alloc {
                    populate: false,
                    ..
                }
        )
    }

    /// Returns whether the area owns the frames of its pages.
    pub(crate) fn owns_frames(&self) -> bool {
        match self {
            Self::Linear { .. } => false,
            Self::Alloc { .. } => true,
            Self::Object(object) => !object.is_shared,
        }
    }

    /// Returns the record of the mapping, if the area shows a memory object.
    pub(crate) fn object(&self) -> Option<ObjectArea> {
        match self {
            Self::Object(object) => Some(*object),
            Self::Linear { .. } | Self::Alloc { .. } => None,
        }
    }

    /// Returns whether a page fault maps one page.
    #[inline(always)]
    pub(crate) fn has_page_grain(&self) -> bool {
        matches!(
            self,
            Self::Alloc {
                grain: Grain::Page,
                ..
            }
        )
    }

    /// Faults in the page at `vaddr` of `area` in the most frequent case: the area has the
    /// grain [`Grain::Page`], a frame is preallocated, and the table for the page exists.
    /// Returns whether it has mapped the page. The rights of the area allow the access.
    #[inline(always)]
    pub(crate) fn fault_in_at_once<M: Machine>(
        area: &MemoryArea<Self>,
        table: &PageTableOf<M>,
        vaddr: VirtAddr,
        frames: &mut PreallocatedFrames,
    ) -> bool {
        area.backend().has_page_grain()
            && alloc::fault_in_at_once::<M>(table, vaddr, area.flags(), frames)
    }

    /// Faults in the page at `vaddr` of `area` with preallocated frames. The rights of the area
    /// allow the access.
    ///
    /// Returns `None` when the page has been mapped. If other frames are needed, changes nothing
    /// and returns the grain to allocate them for. The caller then tries again with these frames.
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists` if the page is mapped, with `NoMemory` if there is no frame
    /// for the page or a table, and with `BadAddress` if the backend maps no pages on faults.
    pub(crate) fn fault_in<M: Machine>(
        area: &MemoryArea<Self>,
        table: &PageTableOf<M>,
        vaddr: VirtAddr,
        frames: &mut PreallocatedFrames,
    ) -> AxResult<Option<Grain>> {
        let Self::Alloc { grain, .. } = *area.backend() else {
            return Err(AxError::BadAddress);
        };
        alloc::fault_in::<M>(table, area, grain, vaddr, frames)
    }
}

impl AreaBackend for Backend {
    type Addr = VirtAddr;
    type Flags = MappingFlags;
    type Slot = WordSlot;
}

impl WordBackend for Backend {
    #[inline(always)]
    fn flags_to_word(flags: MappingFlags) -> usize {
        flags.bits()
    }

    #[inline(always)]
    fn flags_from_word(word: usize) -> MappingFlags {
        MappingFlags::from_bits_retain(word)
    }

    #[inline(always)]
    fn to_words(self) -> BackendWords {
        match self {
            Self::Linear { pa_va_offset, name } => {
                let address = name.as_ptr().expose_provenance();
                [LINEAR, pa_va_offset, address, name.len()]
            }
            Self::Alloc { populate, grain } => {
                let kind = if populate { POPULATED } else { LAZY };
                [kind, grain.pack(), 0, 0]
            }
            Self::Object(ObjectArea { record, is_shared }) => {
                [OBJECT, record, usize::from(is_shared), 0]
            }
        }
    }

    #[inline(always)]
    unsafe fn from_words([kind, value, address, len]: BackendWords) -> Self {
        if kind < LINEAR {
            return Self::Alloc {
                populate: kind == POPULATED,
                grain: Grain::unpack(value),
            };
        }
        if kind == OBJECT {
            return Self::Object(ObjectArea {
                record: value,
                is_shared: address != 0,
            });
        }
        let name = ptr::with_exposed_provenance(address);
        // SAFETY: the caller promises that `to_words` has returned these words. Address and
        // length are then those of a `&'static str`.
        let name = unsafe { str::from_utf8_unchecked(slice::from_raw_parts(name, len)) };
        Self::Linear {
            pa_va_offset: value,
            name,
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
            // SAFETY: the words are those of a backend.
            let copy = unsafe { Backend::from_words(backend.to_words()) };
            assert_eq!(copy, backend);
        }
    }
}
