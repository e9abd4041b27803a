//! An area where it is kept.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, Ordering};
use core::{slice, str};

use page_table_multiarch::MappingFlags;

use super::area::{Packed, PackedArea};
use super::leaf::Leaf;
use super::word::Word;
use super::{Area, Backing, Span};

/// An area where it is kept, for the hart with the index lock. A word of it is loaded when
/// it is asked for.
pub struct Entry<'a, B> {
    leaf: &'a Leaf<B>,
    slot: usize,
    /// It stays with the thread that has the areas.
    _locked: PhantomData<&'a Cell<()>>,
}

impl<'a, B: Backing> Entry<'a, B> {
    pub(super) fn new(leaf: &'a Leaf<B>, slot: usize) -> Self {
        Self {
            leaf,
            slot,
            _locked: PhantomData,
        }
    }

    /// Its first address.
    #[inline(always)]
    pub fn start(&self) -> usize {
        self.leaf.slot_start(self.slot)
    }

    /// The address behind its last.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.leaf.slot_end(self.slot)
    }

    /// Its addresses.
    pub fn span(&self) -> Span {
        Range {
            start: self.start(),
            end: self.end(),
        }
    }

    /// Its rights.
    pub fn flags(&self) -> MappingFlags {
        self.leaf.details(self.slot).flags()
    }

    /// Where its frames come from.
    pub fn backing(&self) -> B {
        self.leaf.details(self.slot).backing()
    }

    /// All of it.
    pub fn area(&self) -> Area<B> {
        self.packed().unpack()
    }

    /// All of it, in the form in which it is kept.
    pub(super) fn packed(&self) -> PackedArea {
        let words = self.leaf.details(self.slot).words();
        // SAFETY: the one hart that writes the words has this `Entry` (`SharedAreas`), so
        // that the words are those of one area.
        unsafe { words.into_area(self.start(), self.end()) }
    }
}

/// What an area is besides its addresses.
pub struct Details {
    flags: Word,
    name: AtomicPtr<u8>,
    name_len: Word,
    backing: [Word; 2],
}

/// The words of [`Details`], which may not belong together.
pub struct DetailWords {
    flags: usize,
    name: *const u8,
    name_len: usize,
    backing: [usize; 2],
}

impl Details {
    /// Those of no area.
    pub fn none() -> Self {
        let name = "";
        Self {
            flags: Word::new(0),
            name: AtomicPtr::new(name.as_ptr().cast_mut()),
            name_len: Word::new(name.len()),
            backing: Word::row(0),
        }
    }

    /// Writes those of `area`, whose backing is `backing`.
    pub fn set<T>(&self, area: &Area<T>, backing: Packed) {
        self.set_flags(area.flags);
        let name = area.name.as_ptr().cast_mut();
        // Relaxed: as for any `Word`.
        self.name.store(name, Ordering::Relaxed);
        self.name_len.set(area.name.len());
        let [first, second] = backing;
        self.backing[0].set(first);
        self.backing[1].set(second);
    }

    /// Writes the rights.
    pub fn set_flags(&self, flags: MappingFlags) {
        self.flags.set(flags.bits());
    }

    fn flags(&self) -> MappingFlags {
        MappingFlags::from_bits_retain(self.flags.get())
    }

    fn backing<B: Backing>(&self) -> B {
        B::unpack([self.backing[0].get(), self.backing[1].get()])
    }

    /// Returns each word as it is now.
    #[inline(always)]
    pub fn words(&self) -> DetailWords {
        DetailWords {
            flags: self.flags.get(),
            // Relaxed: as for any `Word`.
            name: self.name.load(Ordering::Relaxed),
            name_len: self.name_len.get(),
            backing: [self.backing[0].get(), self.backing[1].get()],
        }
    }
}

impl DetailWords {
    /// The area from `start` to `end` that the words are of.
    ///
    /// # Safety
    ///
    /// The words are those of one area: none was written while they were read.
    #[inline(always)]
    pub unsafe fn into_area(self, start: usize, end: usize) -> PackedArea {
        // SAFETY: `Details::set` and `Details::none` alone write a name, that of a `str`
        // that stays for good; the caller promises that address and length are of one.
        let name =
            unsafe { str::from_utf8_unchecked(slice::from_raw_parts(self.name, self.name_len)) };
        Area {
            start,
            end,
            flags: MappingFlags::from_bits_retain(self.flags),
            name,
            backing: self.backing,
        }
    }
}
