//! Memory for the allocators on the host.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// How much: as much as a guest gives to the peers.
const SIZE: usize = 32 << 20;

/// ArceOS's page allocator counts pages from a multiple of this, and not far.
const ALIGN: usize = 1 << 30;

/// Memory that is nobody else's, until it is dropped.
pub struct Arena {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: this value reads and writes nothing of what it points to.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// 32 MiB, of which only what is used is really there.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let layout = Layout::new::<[u8; SIZE]>();
        let layout = layout.align_to(ALIGN).unwrap_or(layout);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start, layout }
    }

    /// Where it begins.
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// Its bytes.
    pub fn size(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}
