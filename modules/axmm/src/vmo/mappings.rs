//! The hook through which an object changes its mappings. Objects cannot be mapped yet, so it
//! does nothing.

use core::ops::Range;

/// The mappings of an object.
///
/// An operation that takes pages away has three steps:
///
/// 1. With the state locked, the pages leave the object's tree. From now on a page request does not
///    find them.
/// 2. With the state unlocked, [`unmap`](Self::unmap) removes them from address spaces. Their frames
///    are still allocated.
/// 3. The frames are freed.
///
/// A snapshot first shares the tree with the state locked, and then calls
/// [`write_protect`](Self::write_protect). A page request that copies a page calls `write_protect`
/// before it reads the page, because a snapshot may be between these two steps.
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
