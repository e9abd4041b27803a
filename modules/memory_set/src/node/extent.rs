//! What a parent knows of a child without looking at its areas.

/// A summary of neighbouring areas: where the first starts, where the last ends, and the
/// largest gap between two of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    pub start: usize,
    pub end: usize,
    pub gap: usize,
}

impl Extent {
    /// The extent of a node without areas.
    pub const EMPTY: Self = Self {
        start: 0,
        end: 0,
        gap: 0,
    };
}
