//! One area.

use page_table_multiarch::MappingFlags;

use super::Span;

/// What an area knows of where its frames come from.
pub trait Backing: Clone {
    /// What the part of an area that begins `offset` bytes in has behind it.
    fn at_offset(&self, offset: usize) -> Self;

    /// Whether `next` goes on where this ends, `len` bytes later.
    fn continues(&self, len: usize, next: &Self) -> bool;
}

/// A range of addresses with one set of rights and one backing.
#[derive(Clone, Debug)]
pub struct Area<B> {
    pub(super) span: Span,
    pub(super) flags: MappingFlags,
    pub(super) name: &'static str,
    pub(super) backing: B,
}

impl<B: Backing> Area<B> {
    /// An area; `name` is for people.
    pub fn new(span: Span, flags: MappingFlags, name: &'static str, backing: B) -> Self {
        Self {
            span,
            flags,
            name,
            backing,
        }
    }

    /// Its addresses.
    pub fn span(&self) -> Span {
        self.span.clone()
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
        let start = self.span.start.max(span.start);
        let end = self.span.end.min(span.end);
        Self {
            span: start..end,
            backing: self.backing.at_offset(start - self.span.start),
            ..self.clone()
        }
    }

    /// Whether both are one area.
    pub(super) fn continues(&self, next: &Self) -> bool {
        self.span.end == next.span.start
            && self.flags == next.flags
            && self.name == next.name
            && self.backing.continues(self.span.len(), &next.backing)
    }
}
