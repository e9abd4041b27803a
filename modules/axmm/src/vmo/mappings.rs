//! Where the mappings of an object will be told about its pages. Nothing maps objects yet.

use core::ops::Range;

/// The mappings of an object.
///
/// An operation that takes pages away has three steps. First the pages leave the tree under the
/// lock of the object's state. Then the operation calls [`unmap`](Self::unmap) with the state
/// unlocked and the pages still allocated. When it has returned, the pages are freed.
pub struct Mappings;

impl Mappings {
    /// The mappings of a new object.
    pub const fn new() -> Self {
        Self
    }

    /// Returns whether any page may be mapped.
    pub fn is_mapped(&self) -> bool {
        false
    }

    /// Unmaps `pages`, a range of page indices of the object, in every address space. Returns
    /// when no hart can access their former frames.
    pub fn unmap(&self, _pages: Range<usize>) {}

    /// Makes all mappings of `pages`, a range of page indices of the object, read-only. Returns
    /// when no hart can write to their frames.
    pub fn write_protect(&self, _pages: Range<usize>) {}
}
