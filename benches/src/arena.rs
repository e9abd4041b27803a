//! Memory for other projects' allocators on the host.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// The size in bytes, the same as in a guest.
const SIZE: usize = 32 << 20;

/// The alignment in bytes. ArceOS's page allocator counts pages from a multiple of it, and its
/// bitmap covers only a limited range from there.
const ALIGN: usize = 1 << 30;

/// Memory that this value owns exclusively, until it is dropped.
pub struct Arena {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: no method accesses the memory behind `start`, so another thread may own the value.
unsafe impl Send for Arena {}
// SAFETY: no method accesses the memory behind `start`, so threads may share the value.
unsafe impl Sync for Arena {}

impl Arena {
    /// Allocates 32 MiB. Linux backs only those pages with memory that are used.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let layout = Layout::new::<[u8; SIZE]>();
        let layout = layout.align_to(ALIGN).unwrap_or(layout);
        // SAFETY: the layout's size is `SIZE`, which is not zero.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start, layout }
    }

    /// Returns the address of the first byte.
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `new` has allocated `start` with this layout, and only `drop` frees it.
        unsafe { dealloc(self.start, self.layout) };
    }
}
