//! The size classes of small heap blocks, and a hart's magazines of them.
//!
//! Sizes up to 256 bytes are rounded up to a multiple of 16. Larger ones are rounded up to one
//! of four steps between powers of two. So above 64 bytes a block is less than a quarter larger
//! than the request.

use core::alloc::Layout;

use crate::magazine::Magazine;

/// The block size of each class, in bytes.
const SIZES: [u16; COUNT] = [
    16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 320, 384, 448, 512,
    640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096,
];
const COUNT: usize = 32;

/// The alignment of every block, and the unit of [`CLASS_OF`], in bytes.
const UNIT: usize = 16;

/// The largest size of a small block, in bytes.
const LARGEST: usize = 4096;

/// The class of each block size, by the number of units.
const CLASS_OF: [u8; LARGEST / UNIT + 1] = {
    let mut classes = [0; LARGEST / UNIT + 1];
    let mut units = 0;
    let mut class = 0;
    while units < classes.len() {
        if units * UNIT > SIZES[class] as usize {
            class += 1;
        }
        classes[units] = class as u8;
        units += 1;
    }
    classes
};

/// The most blocks of one class that a hart caches.
pub(crate) const MAX_BLOCKS: usize = 16;

/// A size class of small blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeClass(u8);

impl SizeClass {
    /// Returns the class of blocks for `layout`, or `None` if the layout is too large or needs
    /// a larger alignment.
    #[inline]
    pub(crate) fn of(layout: Layout) -> Option<Self> {
        if layout.align() > UNIT {
            return None;
        }
        CLASS_OF
            .get(layout.size().div_ceil(UNIT))
            .copied()
            .map(Self)
    }

    /// Returns the layout of this class's blocks.
    pub(crate) fn layout(self) -> Layout {
        // SAFETY: `UNIT` is a power of two, and the sizes in `SIZES` are far below `isize::MAX`.
        unsafe { Layout::from_size_align_unchecked(SIZES[self.0 as usize] as usize, UNIT) }
    }
}

/// A hart's free blocks of each class, by address.
pub(crate) struct BlockMagazines([Magazine<MAX_BLOCKS>; COUNT]);

impl BlockMagazines {
    /// Empty magazines of all classes.
    pub(crate) const fn new() -> Self {
        Self([const { Magazine::new() }; COUNT])
    }

    /// Returns the magazine of `class`.
    #[inline]
    pub(crate) fn of(&self, class: SizeClass) -> &Magazine<MAX_BLOCKS> {
        &self.0[class.0 as usize]
    }

    /// Returns each class with its magazine.
    pub(crate) fn all(&self) -> impl Iterator<Item = (SizeClass, &Magazine<MAX_BLOCKS>)> {
        (0..).map(SizeClass).zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(size: usize, align: usize) -> Option<SizeClass> {
        SizeClass::of(Layout::from_size_align(size, align).unwrap())
    }

    #[test]
    fn every_small_size_has_the_smallest_class_that_holds_it() {
        for size in 0..=LARGEST {
            let block = class_of(size, 8).unwrap().layout().size();
            assert!(block >= size);
            let smaller = SIZES.iter().rposition(|&s| usize::from(s) < block);
            assert!(smaller.is_none_or(|smaller| usize::from(SIZES[smaller]) < size));
        }
        assert_eq!(class_of(LARGEST + 1, 8), None);
        assert_eq!(class_of(64, 32), None);
    }
}
