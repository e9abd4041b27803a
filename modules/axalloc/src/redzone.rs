//! What debug builds do to find mistakes: freed memory is filled with junk, and
//! around each block of the heap lie red zones, which are looked at when it is
//! freed. Release builds have none of it.
//!
//! ```text
//!   debug:    | size, state, red zone | the block | red zone |
//!   release:                          | the block |
//! ```

pub use imp::fill_freed;

/// A heap whose blocks have red zones in debug builds.
pub struct Guarded<A>(A);

impl<A> Guarded<A> {
    pub const fn new(heap: A) -> Self {
        Self(heap)
    }

    /// The heap.
    pub fn inner(&self) -> &A {
        &self.0
    }
}

#[cfg(not(debug_assertions))]
mod imp {
    use core::alloc::{GlobalAlloc, Layout};

    use super::Guarded;
    use crate::Frames;

    /// Freed frames keep what they hold.
    pub fn fill_freed(_: &mut Frames) {}

    // SAFETY: all is the heap's own doing.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for Guarded<A> {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            unsafe { self.0.alloc(layout) }
        }

        #[inline]
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { self.0.dealloc(block, layout) }
        }

        #[inline]
        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: the caller's promise.
            unsafe { self.0.realloc(block, layout, size) }
        }
    }
}

#[cfg(debug_assertions)]
mod imp {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ptr;

    use super::Guarded;
    use crate::Frames;

    /// What freed memory is filled with. As an address it is nobody's on any
    /// machine.
    const JUNK: u8 = 0xd5;

    /// What red zones are filled with.
    const RED: u8 = 0xa7;

    /// Bytes of the red zone behind a block.
    const BEHIND: usize = 16;

    /// The state of a block that is in use.
    const IN_USE: u64 = 0x4553_5520_4e49_2e2e;

    /// The state of a block that has been freed.
    const FREED: u64 = 0x4445_4552_462e_2e2e;

    /// What lies before a block, in its last bytes; red zone before that.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Header {
        size: usize,
        state: u64,
    }

    /// Fills freed frames with junk.
    pub fn fill_freed(frames: &mut Frames) {
        frames.as_bytes_mut().fill(JUNK);
    }

    /// How long the part before a block is, and the layout of the whole. `None`
    /// if that is too large.
    fn whole(layout: Layout) -> Option<(usize, Layout)> {
        let before = layout.align().max(2 * size_of::<Header>());
        let size = layout.size().checked_add(before + BEHIND)?;
        let align = layout.align().max(align_of::<Header>());
        Some((before, Layout::from_size_align(size, align).ok()?))
    }

    /// The header of a block.
    ///
    /// # Safety
    ///
    /// `block` is one of a guarded heap.
    unsafe fn header(block: *mut u8) -> *mut Header {
        // SAFETY: a header lies before each block, aligned as `whole` says.
        unsafe { block.cast::<Header>().sub(1) }
    }

    /// Stops with what is wrong with a block that is being freed.
    ///
    /// # Safety
    ///
    /// `block` is, or was, one of a guarded heap.
    unsafe fn check(block: *mut u8, layout: Layout, before: usize) {
        // SAFETY: the header and the red zones lie around the block.
        let (header, front, behind) = unsafe {
            let rest = before - size_of::<Header>();
            let front = core::slice::from_raw_parts(block.sub(before), rest);
            let behind = core::slice::from_raw_parts(block.add(layout.size()), BEHIND);
            (*header(block), front, behind)
        };
        assert!(
            header.state != FREED,
            "the block at {block:?} is freed twice"
        );
        assert!(
            header.state == IN_USE && front.iter().all(|byte| *byte == RED),
            "something wrote before the block at {block:?}, or it is no block, or freed already"
        );
        let size = header.size;
        assert!(
            size == layout.size(),
            "the block at {block:?} of {size} bytes is freed as one of {}",
            layout.size()
        );
        assert!(
            behind.iter().all(|byte| *byte == RED),
            "something wrote behind the block at {block:?} of {size} bytes"
        );
    }

    // SAFETY: a block lies within one of the heap's, with its alignment.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for Guarded<A> {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let Some((before, whole)) = whole(layout) else {
                return ptr::null_mut();
            };
            // SAFETY: the whole is larger than nothing.
            let start = unsafe { self.0.alloc(whole) };
            if start.is_null() {
                return start;
            }
            // SAFETY: `whole` made room for the red zones and the header.
            unsafe {
                start.write_bytes(RED, before);
                let block = start.add(before);
                block.add(layout.size()).write_bytes(RED, BEHIND);
                header(block).write(Header {
                    size: layout.size(),
                    state: IN_USE,
                });
                block
            }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            let Some((before, whole)) = whole(layout) else {
                return;
            };
            // SAFETY: the caller got the block from `alloc` with this layout;
            // if not, that is what is found here.
            unsafe {
                check(block, layout, before);
                (*header(block)).state = FREED;
                block.write_bytes(JUNK, layout.size());
                self.0.dealloc(block.sub(before), whole);
            }
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests;
