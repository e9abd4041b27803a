//! Stretches: the parts of a range in which all pages own their frames, or in which none does.
//!
//! ```text
//!   areas       │ fresh frames │      │ fresh frames │   │ linear │   │ fresh frames │
//!   stretches   ├──────────── own frames ──────────────┤├─ none ─┤├─── own frames ───┤
//! ```
//!
//! Areas of fresh frames and private mappings of objects own their frames. Linear areas and shared
//! mappings of objects do not, and each such area is a stretch of its own.
//!
//! A stretch of areas that own frames includes the gaps around them. A fork shares only page tables
//! that lie in such a stretch as a whole. A linear area or a shared mapping that is placed in a gap
//! later opens the shared tables first. So a shared table never lies in two stretches.

use core::iter;

use memory_addr::VirtAddrRange;

use super::write_guard::Unlocked;
use crate::addr::{Pages, as_span, clip, va_range};
use crate::machine::Machine;

/// A part of a range.
pub struct Stretch {
    pub pages: Pages,
    /// Whether the areas own the frames of their pages.
    pub owns_frames: bool,
    /// Whether this is a shared mapping of an object. The object then decides which pages can be
    /// written.
    pub shows_object: bool,
}

impl<M: Machine> Unlocked<'_, '_, M> {
    /// Returns the stretches of `range`, in ascending order.
    pub fn stretches(&self, range: VirtAddrRange) -> impl Iterator<Item = Stretch> {
        let mut from = range.start;
        iter::from_fn(move || {
            let rest = va_range(from.as_usize(), range.end.as_usize());
            if rest.is_empty() {
                return None;
            }
            let stretch = self.first_stretch(rest)?;
            from = stretch.pages.end.into();
            Some(stretch)
        })
    }

    /// Returns the first stretch of `range`. If its areas own their frames, it begins at the start
    /// of `range`, with the gap that may lie there. It ends before the next area that does not own
    /// its frames, or at the end of `range`. A stretch that does not own its frames is one area.
    fn first_stretch(&self, range: VirtAddrRange) -> Option<Stretch> {
        let in_range = |area: &memory_set::MemoryArea<_>| area.start() < range.end;
        let mut area = self.area_from(range.start).filter(in_range)?;
        if !area.backend().owns_frames() {
            return Some(Stretch {
                pages: as_span(clip(area.va_range(), range)),
                owns_frames: false,
                shows_object: area.backend().object().is_some(),
            });
        }
        let mut end = range.end;
        while area.end() < range.end
            && let Some(next) = self.area_from(area.end()).filter(in_range)
        {
            if !next.backend().owns_frames() {
                end = next.start();
                break;
            }
            area = next;
        }
        Some(Stretch {
            pages: range.start.as_usize()..end.as_usize(),
            owns_frames: true,
            shows_object: false,
        })
    }
}
