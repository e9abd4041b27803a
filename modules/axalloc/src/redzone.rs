//! What debug builds do to find mistakes with memory. Freed memory is filled with junk. Each
//! block of the heap has red zones around it, which are checked when the block is freed.
//! Release builds do neither.
//!
//! ```text
//!   debug:    | red zone, size, state | the block | red zone |
//!   release:                          | the block |
//! ```

/// The byte that freed memory is filled with in debug builds. An address made of it is invalid
/// on every machine.
#[cfg(debug_assertions)]
const JUNK: u8 = 0xd5;

/// A heap whose blocks have red zones in debug builds.
pub(crate) struct Guarded<A>(A);

impl<A> Guarded<A> {
    /// Guards the blocks of `heap`.
    pub(crate) const fn new(heap: A) -> Self {
        Self(heap)
    }

    /// Returns the heap that gives the blocks.
    pub(crate) fn inner(&self) -> &A {
        &self.0
    }
}

/// Fills freed memory with junk.
#[cfg(debug_assertions)]
pub(crate) fn fill_freed(memory: &mut [u8]) {
    memory.fill(JUNK);
}

#[cfg(not(debug_assertions))]
mod unguarded {
    use core::alloc::{GlobalAlloc, Layout};

    use super::Guarded;

    // SAFETY: every method is that of the inner heap, with the same arguments and result.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for Guarded<A> {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller promises that the size is not 0.
            unsafe { self.0.alloc(layout) }
        }

        #[inline]
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller promises that `alloc` gave the block for this layout, and
            // `alloc` took it from the inner heap.
            unsafe { self.0.dealloc(block, layout) }
        }

        #[inline]
        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: the caller promises that `alloc` gave the block for this layout, and
            // that the size is valid. `alloc` took the block from the inner heap.
            unsafe { self.0.realloc(block, layout, size) }
        }
    }
}

#[cfg(debug_assertions)]
mod guarded {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ptr;

    use super::{Guarded, JUNK};

    /// The byte that red zones are filled with.
    const RED: u8 = 0xa7;

    /// The length in bytes of the red zone after a block.
    const RED_ZONE_AFTER: usize = 16;

    /// The state of a block that is in use: `..IN USE` in memory.
    const IN_USE: u64 = 0x4553_5520_4e49_2e2e;

    /// The state of a block that was freed: `...FREED` in memory.
    const FREED: u64 = 0x4445_4552_462e_2e2e;

    /// What is stored right before a block. The red zone is before that.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Header {
        size: usize,
        state: u64,
    }

    /// Returns how many bytes there are before a block of `layout`, and the layout with all
    /// that is around the block. Returns `None` if that is too large.
    fn layout_with_red_zones(layout: Layout) -> Option<(usize, Layout)> {
        let before = layout.align().max(2 * size_of::<Header>());
        let size = layout.size().checked_add(before + RED_ZONE_AFTER)?;
        let align = layout.align().max(align_of::<Header>());
        Some((before, Layout::from_size_align(size, align).ok()?))
    }

    /// Returns the header of a block.
    ///
    /// # Safety
    ///
    /// A guarded heap gave `block`.
    unsafe fn header(block: *mut u8) -> *mut Header {
        // SAFETY: `layout_with_red_zones` reserves at least two headers before each block, in
        // the same allocation, and aligns the block for a header.
        unsafe { block.cast::<Header>().sub(1) }
    }

    /// Panics with what is wrong with a block that is being freed, if anything is.
    ///
    /// # Safety
    ///
    /// A guarded heap gave `block`, whose memory can still be read. `before` is the length
    /// that `layout_with_red_zones` returns for `layout`.
    unsafe fn check(block: *mut u8, layout: Layout, before: usize) {
        // SAFETY: `before` bytes before the block and the red zone after it are part of its
        // allocation, which the caller promises can be read.
        let (header, front, behind) = unsafe {
            let rest = before - size_of::<Header>();
            let front = core::slice::from_raw_parts(block.sub(before), rest);
            let behind = core::slice::from_raw_parts(block.add(layout.size()), RED_ZONE_AFTER);
            (*header(block), front, behind)
        };
        assert!(
            header.state != FREED,
            "the block at {block:?} is freed twice"
        );
        assert!(
            header.state == IN_USE && front.iter().all(|byte| *byte == RED),
            "memory before the block at {block:?} was overwritten, or it is not a block in use"
        );
        let size = header.size;
        assert!(
            size == layout.size(),
            "the block at {block:?} of {size} bytes is freed with a size of {}",
            layout.size()
        );
        assert!(
            behind.iter().all(|byte| *byte == RED),
            "memory after the block at {block:?} of {size} bytes was overwritten"
        );
    }

    // SAFETY: a block is part of a block of the inner heap, which is large enough for it and
    // its red zones. It has the alignment of its layout: `before` is a multiple of it.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for Guarded<A> {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let Some((before, outer)) = layout_with_red_zones(layout) else {
                return ptr::null_mut();
            };
            // SAFETY: the size is not 0, since it includes the red zones.
            let start = unsafe { self.0.alloc(outer) };
            if start.is_null() {
                return start;
            }
            // SAFETY: `layout_with_red_zones` reserved `before` bytes before the block and
            // `RED_ZONE_AFTER` bytes after it.
            unsafe {
                start.write_bytes(RED, before);
                let block = start.add(before);
                block.add(layout.size()).write_bytes(RED, RED_ZONE_AFTER);
                header(block).write(Header {
                    size: layout.size(),
                    state: IN_USE,
                });
                block
            }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            let Some((before, outer)) = layout_with_red_zones(layout) else {
                return;
            };
            // SAFETY: the caller promises that `alloc` gave the block for this layout. `check`
            // panics if the caller is wrong, before anything is written.
            unsafe {
                check(block, layout, before);
                (*header(block)).state = FREED;
                block.write_bytes(JUNK, layout.size());
                self.0.dealloc(block.sub(before), outer);
            }
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests;
