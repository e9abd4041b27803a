//! The grain of an area: how much one page fault maps.

use page_table_multiarch::MappingFlags;

use crate::addr::PAGES_PER_LARGE_PAGE;

/// How much one page fault maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grain {
    /// The 4 KiB page that was accessed.
    #[default]
    Page,
    /// An aligned block of this many pages, around the page that was accessed. The number is a
    /// power of two up to 512. Pages outside the area are left out, and so are pages that are
    /// mapped already or for which there is no frame.
    Around(u16),
    /// A large page of 2 MiB, if all of it lies in the area, nothing of it is mapped yet, and a
    /// block of 512 contiguous frames is free. Otherwise the 4 KiB page that was accessed. The
    /// large page is split into small pages when a part of it is unmapped or protected, or when
    /// all rights are taken from it.
    Large,
}

/// The words for grains that are not [`Grain::Around`]. They are above the numbers of pages.
const PAGE: usize = 1 << 16;
const LARGE: usize = 2 << 16;

impl Grain {
    /// Returns whether the number of pages is one that [`Around`](Self::Around) allows.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Around(pages) => {
                pages.is_power_of_two() && usize::from(pages) <= PAGES_PER_LARGE_PAGE
            }
            Self::Page | Self::Large => true,
        }
    }

    /// Returns the grain as one word.
    pub(super) fn pack(self) -> usize {
        match self {
            Self::Around(pages) => usize::from(pages),
            Self::Page => PAGE,
            Self::Large => LARGE,
        }
    }

    /// Returns the grain from which [`pack`](Self::pack) made the word.
    pub(super) fn unpack(word: usize) -> Self {
        match u16::try_from(word) {
            Ok(pages) => Self::Around(pages),
            Err(_) if word == LARGE => Self::Large,
            Err(_) => Self::Page,
        }
    }

    /// Returns whether the grain is [`Large`](Self::Large) and pages with these rights may be
    /// large. The entry of a large page without rights would look like one that leads to a table.
    pub(super) fn allows_large_pages(self, flags: MappingFlags) -> bool {
        self == Self::Large && !flags.is_empty()
    }
}
