//! An area: a range of addresses with flags and a backend.

use core::fmt;
use core::ops::Range;

use memory_addr::AddrRange;

use crate::backend::{AreaBackend, WordBackend};
use crate::node::slot::WORDS;

/// A range of addresses with one set of flags and one backend.
#[derive(Clone, Copy)]
pub struct MemoryArea<B: AreaBackend> {
    va_range: AddrRange<B::Addr>,
    flags: B::Flags,
    backend: B,
}

impl<B: AreaBackend> MemoryArea<B> {
    /// Returns an area of `size` bytes from `start` on.
    ///
    /// # Panics
    ///
    /// Panics if `start + size` overflows.
    pub fn new(start: B::Addr, size: usize, flags: B::Flags, backend: B) -> Self {
        Self::from_range(AddrRange::from_start_size(start, size), flags, backend)
    }

    /// Returns an area with the addresses `va_range`.
    #[inline(always)]
    pub const fn from_range(va_range: AddrRange<B::Addr>, flags: B::Flags, backend: B) -> Self {
        Self {
            va_range,
            flags,
            backend,
        }
    }

    /// Returns the addresses.
    #[inline(always)]
    pub const fn va_range(&self) -> AddrRange<B::Addr> {
        self.va_range
    }

    /// Returns the flags, for instance the access rights.
    #[inline(always)]
    pub const fn flags(&self) -> B::Flags {
        self.flags
    }

    /// Returns the first address.
    #[inline(always)]
    pub const fn start(&self) -> B::Addr {
        self.va_range.start
    }

    /// Returns the end, which is the address after the last.
    #[inline(always)]
    pub const fn end(&self) -> B::Addr {
        self.va_range.end
    }

    /// Returns the number of bytes.
    #[inline(always)]
    pub fn size(&self) -> usize {
        self.va_range.size()
    }

    /// Returns the backend.
    #[inline(always)]
    pub const fn backend(&self) -> &B {
        &self.backend
    }

    /// Returns the part of the area that is inside `range`. The area and `range` have to overlap.
    pub fn part(&self, range: AddrRange<B::Addr>) -> Self {
        let va_range = AddrRange {
            start: self.start().max(range.start),
            end: self.end().min(range.end),
        };
        Self::from_range(va_range, self.flags, self.backend.clone())
    }

    pub(crate) fn set_flags(&mut self, flags: B::Flags) {
        self.flags = flags;
    }

    pub(crate) fn set_start(&mut self, start: B::Addr) {
        self.va_range.start = start;
    }

    pub(crate) fn set_end(&mut self, end: B::Addr) {
        self.va_range.end = end;
    }

    /// Returns the addresses as numbers.
    #[inline(always)]
    pub(crate) fn range(&self) -> Range<usize> {
        self.start().into()..self.end().into()
    }
}

impl<B: WordBackend> MemoryArea<B> {
    /// Returns the area that this one and `next` make up together. `None` unless `next` starts at
    /// the end of this area, and flags and backends of both are the same words.
    pub fn merged_with(&self, next: &Self) -> Option<Self> {
        let va_range = AddrRange {
            start: self.start(),
            end: next.end(),
        };
        let can_merge = self.end() == next.start() && self.words() == next.words();
        can_merge.then(|| Self::from_range(va_range, self.flags, self.backend))
    }

    /// Returns flags and backend as words.
    #[inline(always)]
    pub(crate) fn words(&self) -> [usize; WORDS] {
        words_of(self.flags, &self.backend)
    }

    /// Returns the area at `start..end` with the flags and the backend that `words` stand for.
    ///
    /// # Safety
    ///
    /// [`words`](Self::words) of an area of this type has returned `words`.
    #[inline(always)]
    pub(crate) unsafe fn from_words(start: usize, end: usize, words: [usize; WORDS]) -> Self {
        let va_range = AddrRange {
            start: start.into(),
            end: end.into(),
        };
        let [flags, a, b, c, d] = words;
        // SAFETY: the caller promises that `MemoryArea::words` has returned all five words. It
        // took the last four from `to_words` of a backend.
        let backend = unsafe { B::from_words([a, b, c, d]) };
        Self::from_range(va_range, B::flags_from_word(flags), backend)
    }
}

/// Returns flags and backend as words.
#[inline(always)]
pub fn words_of<B: WordBackend>(flags: B::Flags, backend: &B) -> [usize; WORDS] {
    let [a, b, c, d] = backend.to_words();
    [B::flags_to_word(flags), a, b, c, d]
}

impl<B: AreaBackend> fmt::Debug for MemoryArea<B>
where
    B::Addr: fmt::Debug,
    B::Flags: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("MemoryArea")
            .field("va_range", &self.va_range)
            .field("flags", &self.flags)
            .finish()
    }
}
