//! One area.

use page_table_multiarch::MappingFlags;

use super::Span;

/// What an area knows of where its frames come from.
///
/// It is copied out of the tree word by word, without a lock, and checked afterwards
/// ([`Nodes::peek`](super::Nodes::peek)). So it cannot own anything: it is `Copy`, and two
/// words say all of it. A backing that refers to something counted keeps its number here,
/// and takes a reference while the area cannot go: under the index lock, or in a page
/// fault, for which an unmapping waits.
///
/// ```compile_fail,E0204
/// #[derive(Clone, Copy)]
/// struct Owner(std::sync::Arc<()>);
/// ```
pub trait Backing: Copy {
    /// All that it is, in two words.
    fn pack(self) -> [usize; 2];

    /// The backing that [`pack`](Self::pack) made the words of.
    fn unpack(words: [usize; 2]) -> Self;

    /// The backing of the part of an area that begins `offset` bytes in.
    fn at_offset(&self, offset: usize) -> Self;

    /// Whether `next` goes on where this ends, `len` bytes later.
    fn continues(&self, len: usize, next: &Self) -> bool;
}

/// A range of addresses with one set of rights and one backing.
#[derive(Clone, Copy, Debug)]
pub struct Area<B> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) flags: MappingFlags,
    pub(super) name: &'static str,
    pub(super) backing: B,
}

impl<B: Backing> Area<B> {
    /// An area; `name` is for people.
    pub fn new(span: Span, flags: MappingFlags, name: &'static str, backing: B) -> Self {
        Self {
            start: span.start,
            end: span.end,
            flags,
            name,
            backing,
        }
    }

    /// Its rights.
    pub fn flags(&self) -> MappingFlags {
        self.flags
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its frames come from.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// The part of the area that lies in `span`, which it overlaps.
    pub fn part(&self, span: &Span) -> Self {
        let start = self.start.max(span.start);
        Self {
            start,
            end: self.end.min(span.end),
            backing: self.backing.at_offset(start - self.start),
            ..*self
        }
    }

    /// This area, up to `end` instead.
    pub(crate) fn with_end(&self, end: usize) -> Self {
        Self { end, ..*self }
    }

    /// Whether this area and `next` can be one.
    pub(crate) fn continues(&self, next: &Self) -> bool {
        self.end == next.start
            && self.flags == next.flags
            && self.name == next.name
            && self.backing.continues(self.end - self.start, &next.backing)
    }
}

impl<B> Area<B> {
    /// Its addresses.
    pub fn span(&self) -> Span {
        self.start..self.end
    }
}

/// The words of a backing. Leaves take and give these, so no code of a [`Backing`] runs
/// between [`begin`](super::version::Version::begin) and [`end`](super::version::Version::end).
/// Such code could use the same areas, and would leave an even version on a leaf that is
/// still being written.
pub(super) type Packed = [usize; 2];

/// An area with its backing as words.
pub(super) type PackedArea = Area<Packed>;

impl PackedArea {
    /// The area with the backing that the words are of.
    #[inline(always)]
    pub(super) fn unpack<B: Backing>(self) -> Area<B> {
        Area {
            start: self.start,
            end: self.end,
            flags: self.flags,
            name: self.name,
            backing: B::unpack(self.backing),
        }
    }
}
