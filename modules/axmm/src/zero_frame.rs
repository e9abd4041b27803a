//! The zero frame: one frame full of zeroes, which all pages share that have been read and not yet
//! written. Nothing counts the pages that map it, and it is never freed.
//!
//! On a machine it is part of the kernel's image, where it is read-only. The image lies in the
//! linear mapping (`platforms/kernel.ld`), so the physical address of the frame is its virtual
//! address less `PHYS_VIRT_OFFSET`. In a process, where the image is not in the machine's memory,
//! the frame is allocated.

use memory_addr::PhysAddr;

#[cfg(not(target_os = "none"))]
pub use allocated::{init, zero_frame};
#[cfg(target_os = "none")]
pub use in_image::zero_frame;

/// Returns whether `frame` is the zero frame.
#[inline(always)]
pub fn is_zero_frame(frame: PhysAddr) -> bool {
    cfg!(feature = "objects") && frame == zero_frame()
}

#[cfg(target_os = "none")]
mod in_image {
    use super::PhysAddr;
    use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};

    /// The frames beside it belong to the image, too, and no page owns them. So pages in contiguous
    /// frames never include it, unless it is the only frame. Code that handles such a run compares
    /// only the first frame with the zero frame.
    #[repr(align(4096))]
    struct Frame([u8; PAGE_SIZE]);

    static ZERO: Frame = Frame([0; PAGE_SIZE]);

    /// Returns the physical address of the zero frame. A mapping of it must not be writable.
    #[inline(always)]
    pub fn zero_frame() -> PhysAddr {
        PhysAddr::from_usize(ZERO.0.as_ptr().expose_provenance() - PHYS_VIRT_OFFSET)
    }
}

#[cfg(not(target_os = "none"))]
mod allocated {
    use super::PhysAddr;
    use core::sync::atomic::{AtomicUsize, Ordering};

    use axalloc::{UsageKind, alloc_frames_zeroed};
    use axconfig::PAGE_SIZE;
    use axerrno::AxResult;

    /// The physical address of the zero frame. Until `init` has run it is 1, which no frame has.
    static FRAME: AtomicUsize = AtomicUsize::new(1);

    /// Allocates the zero frame, and one frame on each side of it. So no frame of a page is contiguous
    /// with it, as on a machine. Called once, when the memory has been added, and before any page is
    /// mapped.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if there is no run of three frames.
    pub fn init() -> AxResult {
        let frames = alloc_frames_zeroed(3, PAGE_SIZE, UsageKind::Global)?.into_raw();
        // Relaxed: other harts start later.
        FRAME.store(frames.as_usize() + PAGE_SIZE, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the physical address of the zero frame. A mapping of it must not be writable.
    #[inline(always)]
    pub fn zero_frame() -> PhysAddr {
        PhysAddr::from_usize(FRAME.load(Ordering::Relaxed))
    }
}
