//! Ranges of pages, cut where entries of the page table end.

use core::ops::Range;

/// A page-aligned range of virtual addresses. It may end at `usize::MAX`, which stands for the end
/// of all addresses.
pub type Pages = Range<usize>;

/// Returns the first part of `pages`, cut at the multiples of `size`.
#[inline(always)]
pub fn first_part(pages: Pages, size: usize) -> Pages {
    // At the end of all addresses, the next multiple overflows.
    let end = (pages.start & !(size - 1)).checked_add(size);
    pages.start..end.map_or(pages.end, |end| end.min(pages.end))
}

/// Returns the addresses of the aligned block of `size` bytes that `addr` lies in.
#[inline(always)]
pub fn block_around(addr: usize, size: usize) -> Pages {
    let start = addr & !(size - 1);
    start..start.saturating_add(size)
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
