//! Small blocks: a magazine for each size class on each hart.
//!
//! Sizes up to 256 bytes go up to the next multiple of 16, larger ones to the next
//! of four steps between powers of two: above 64 bytes a block is less than a
//! quarter larger than asked for.

use core::alloc::Layout;

use crate::magazine::Magazine;

/// The sizes, in bytes.
const SIZES: [u16; COUNT] = [
    16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 320, 384, 448, 512,
    640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096,
];
const COUNT: usize = 32;

/// What every block is aligned to at least, and sizes are told apart by.
const UNIT: usize = 16;

/// The largest size of a small block.
const LARGEST: usize = 4096;

/// The class of each number of units.
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

/// How many blocks of a class a hart keeps at most.
pub const KEPT: usize = 16;

/// A size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u8);

impl Class {
    /// The class of blocks for `layout`; `None` if it is not small.
    #[inline]
    pub fn of(layout: Layout) -> Option<Self> {
        if layout.align() > UNIT {
            return None;
        }
        CLASS_OF
            .get(layout.size().div_ceil(UNIT))
            .copied()
            .map(Self)
    }

    /// What blocks of this class are.
    pub fn layout(self) -> Layout {
        // SAFETY: the alignment is a power of two, and the sizes are small.
        unsafe { Layout::from_size_align_unchecked(SIZES[self.0 as usize] as usize, UNIT) }
    }
}

/// A hart's free blocks of each class, by address.
pub struct Classes([Magazine<KEPT>; COUNT]);

impl Classes {
    pub const fn new() -> Self {
        Self([const { Magazine::new() }; COUNT])
    }

    /// The blocks of `class`.
    #[inline]
    pub fn of(&self, class: Class) -> &Magazine<KEPT> {
        &self.0[class.0 as usize]
    }

    /// Each class with its blocks.
    pub fn all(&self) -> impl Iterator<Item = (Class, &Magazine<KEPT>)> {
        (0..).map(Class).zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_small_size_has_the_smallest_class_that_holds_it() {
        for size in 0..=LARGEST {
            let class = Class::of(Layout::from_size_align(size, 8).unwrap()).unwrap();
            assert!(class.layout().size() >= size);
            let smaller = SIZES
                .iter()
                .rposition(|&s| usize::from(s) < class.layout().size());
            assert!(smaller.is_none_or(|smaller| usize::from(SIZES[smaller]) < size));
        }
        assert_eq!(
            Class::of(Layout::from_size_align(LARGEST + 1, 8).unwrap()),
            None
        );
        assert_eq!(Class::of(Layout::from_size_align(64, 32).unwrap()), None);
    }
}
