//! Virtual addresses: half-open ranges, blocks of them, and the size of a large page.
//!
//! The end of all addresses is 2^64, which a `usize` cannot hold. A range that reaches to it ends
//! at `usize::MAX` instead. No mapping reaches so far: its end is a multiple of the page size, so
//! the last page is never mapped.

use core::iter;
use core::ops::Range;

use memory_addr::{PAGE_SIZE_4K, VirtAddr, VirtAddrRange};

/// A page-aligned range of virtual addresses, as the page table takes it.
pub type Pages = Range<usize>;

/// log2 of [`LARGE_PAGE_SIZE`].
pub const LARGE_PAGE_BITS: u32 = 21;

/// The bytes of a large page, and of what one page table of the lowest level translates: 2 MiB
/// in every page-table format that the kernel uses.
pub const LARGE_PAGE_SIZE: usize = 1 << LARGE_PAGE_BITS;

/// The number of 4 KiB pages in a large page.
pub const PAGES_PER_LARGE_PAGE: usize = LARGE_PAGE_SIZE / PAGE_SIZE_4K;

/// The addresses from `start` up to `end`, which is not below `start`.
#[inline(always)]
pub const fn va_range(start: usize, end: usize) -> VirtAddrRange {
    VirtAddrRange {
        start: VirtAddr::from_usize(start),
        end: VirtAddr::from_usize(end),
    }
}

/// Returns the addresses of `range` as numbers.
#[inline(always)]
pub fn as_span(range: VirtAddrRange) -> Range<usize> {
    range.start.as_usize()..range.end.as_usize()
}

/// Returns the last address of a range that ends at `end`, which is not 0. A range that ends at
/// `usize::MAX` stands for one that ends at 2^64, so its last address is `usize::MAX`.
#[inline(always)]
pub const fn last_address(end: usize) -> usize {
    match end {
        usize::MAX => usize::MAX,
        end => end - 1,
    }
}

/// The address `vaddr` alone. Empty for the last address of all, which no range contains.
#[inline(always)]
pub fn one_address(vaddr: VirtAddr) -> VirtAddrRange {
    let start = vaddr.as_usize();
    va_range(start, start.saturating_add(1))
}

/// Widens `range` to whole blocks of [`LARGE_PAGE_SIZE`].
pub fn widen_to_blocks(range: VirtAddrRange) -> VirtAddrRange {
    let offset_mask = LARGE_PAGE_SIZE - 1;
    let start = range.start.as_usize() & !offset_mask;
    let last = range.end.as_usize().saturating_sub(1) | offset_mask;
    va_range(start, last.saturating_add(1))
}

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
    iter::from_fn(move || {
        if pages.is_empty() {
            return None;
        }
        let part = first_part(pages.clone(), size);
        pages.start = part.end;
        Some(part)
    })
}

/// The part of `range` that lies in `limits`. Empty if there is none.
#[inline(always)]
pub fn clip(range: VirtAddrRange, limits: VirtAddrRange) -> VirtAddrRange {
    let start = range.start.max(limits.start);
    VirtAddrRange {
        start,
        end: range.end.min(limits.end).max(start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_multiples_of_a_large_page() {
        let widened = widen_to_blocks(va_range(LARGE_PAGE_SIZE - 1, LARGE_PAGE_SIZE + 1));
        assert_eq!(widened, va_range(0, 2 * LARGE_PAGE_SIZE));
        let whole = va_range(LARGE_PAGE_SIZE, 2 * LARGE_PAGE_SIZE);
        assert_eq!(widen_to_blocks(whole), whole);
        let top = widen_to_blocks(va_range(usize::MAX - 5, usize::MAX));
        assert_eq!(
            top,
            va_range(usize::MAX - (LARGE_PAGE_SIZE - 1), usize::MAX)
        );
    }

    #[test]
    fn ranges_without_a_common_address_clip_to_nothing() {
        let limits = va_range(10, 20);
        assert_eq!(clip(va_range(5, 15), limits), va_range(10, 15));
        assert_eq!(clip(va_range(15, 25), limits), va_range(15, 20));
        assert!(clip(va_range(0, 10), limits).is_empty());
        assert!(clip(va_range(20, 30), limits).is_empty());
    }
}
