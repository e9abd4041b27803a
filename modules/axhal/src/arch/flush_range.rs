//! The choice between flushing a range page by page and flushing everything.

use core::ops::Range;

/// Flushes `pages`, a range of page-aligned virtual addresses: by one call of `flush_page`
/// for each page, or, for more than `max_pages` pages, by one call of `flush_all`.
pub fn flush_range(
    pages: Range<usize>,
    max_pages: usize,
    flush_page: impl FnMut(usize),
    flush_all: impl FnOnce(),
) {
    if pages.len() / axconfig::PAGE_SIZE > max_pages {
        flush_all();
    } else {
        pages.step_by(axconfig::PAGE_SIZE).for_each(flush_page);
    }
}
