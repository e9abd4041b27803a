//! Ranges of pages, cut where entries of the page table end.

use core::ops::Range;

/// A page-aligned range of virtual addresses, not empty.
pub type Pages = Range<usize>;

/// Returns the first part of `pages`, cut at the multiples of `size`.
#[inline(always)]
pub fn first_part(pages: Pages, size: usize) -> Pages {
    // At the end of all addresses, the next multiple overflows.
    let end = (pages.start & !(size - 1)).checked_add(size);
    pages.start..end.map_or(pages.end, |end| end.min(pages.end))
}

/// Returns all parts of `pages`, cut at the multiples of `size`.
#[inline(always)]
pub fn parts(mut pages: Pages, size: usize) -> impl Iterator<Item = Pages> + Clone {
    core::iter::from_fn(move || {
        if pages.is_empty() {
            return None;
        }
        let part = first_part(pages.clone(), size);
        pages.start = part.end;
        Some(part)
    })
}
