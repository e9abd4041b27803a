//! Sizes of pages.

use memory_addr::PAGE_SIZE_4K;

/// The size in bytes of a large page: 2 MiB, which one table of the lowest level translates.
pub const LARGE_PAGE_SIZE: usize = 2 << 20;

/// The number of 4 KiB pages in a large page.
pub const PAGES_PER_LARGE_PAGE: usize = LARGE_PAGE_SIZE / PAGE_SIZE_4K;
