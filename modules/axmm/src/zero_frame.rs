//! The zero frame: one frame full of zeroes, which all pages that were read but never written
//! share.
//!
//! It is a static of the image, so it needs no allocation and has no owner. Its section is
//! `.rodata`, so the kernel cannot write to it. On every machine the image lies in the linear
//! mapping (`platforms/kernel.ld`). So the physical address of the frame is its virtual address
//! less `PHYS_VIRT_OFFSET`.
//!
//! A Linux process that plays a machine (`platforms/linux-host`) is different. Its pages are
//! mappings of a file that stands for RAM, and the image is not in that file. There
//! `allocated::init` allocates the frame at boot.

use memory_addr::PhysAddr;

#[cfg(all(feature = "hal", not(target_os = "none")))]
pub use allocated::{init, zero_frame};

#[cfg(not(all(feature = "hal", not(target_os = "none"))))]
pub use in_image::zero_frame;

#[cfg(not(all(feature = "hal", not(target_os = "none"))))]
mod in_image {
    use super::PhysAddr;
    use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};

    #[repr(align(4096))]
    struct Page {
        _zeroes: [u8; PAGE_SIZE],
    }

    static ZERO: Page = Page {
        _zeroes: [0; PAGE_SIZE],
    };

    /// Returns the physical address of the zero frame. A mapping of it must not be writable.
    pub fn zero_frame() -> PhysAddr {
        // In a test's process the image may lie below `PHYS_VIRT_OFFSET`, and the difference wraps.
        // An access through the linear mapping adds the offset again, and wraps back.
        let vaddr = (&raw const ZERO).expose_provenance();
        PhysAddr::from_usize(vaddr.wrapping_sub(PHYS_VIRT_OFFSET))
    }
}

#[cfg(all(feature = "hal", not(target_os = "none")))]
mod allocated {
    use super::PhysAddr;
    use core::sync::atomic::{AtomicUsize, Ordering};

    use axalloc::{UsageKind, alloc_frame_zeroed};
    use axerrno::AxResult;

    /// The physical address of the zero frame. 0 until `init` has run.
    static FRAME: AtomicUsize = AtomicUsize::new(0);

    /// Allocates the zero frame. The first hart calls it once, before any page is mapped.
    ///
    /// # Errors
    ///
    /// Fails with `NoMemory` if no frame is free.
    pub fn init() -> AxResult {
        let frame = alloc_frame_zeroed(UsageKind::Object)?.into_raw();
        // Relaxed: the other harts start later.
        FRAME.store(frame.as_usize(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns the physical address of the zero frame. A mapping of it must not be writable.
    pub fn zero_frame() -> PhysAddr {
        PhysAddr::from_usize(FRAME.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(feature = "hal")))]
mod tests {
    use axconfig::{PAGE_SIZE, PHYS_VIRT_OFFSET};

    use super::*;

    #[test]
    fn the_zero_frame_is_a_frame_of_zeroes() {
        let frame = zero_frame().as_usize();
        assert!(frame.is_multiple_of(PAGE_SIZE));
        let vaddr = frame.wrapping_add(PHYS_VIRT_OFFSET);
        let bytes = core::ptr::with_exposed_provenance::<[u8; PAGE_SIZE]>(vaddr);
        // SAFETY: the address is that of a static of this size, which is never written.
        assert_eq!(unsafe { &*bytes }, &[0; PAGE_SIZE]);
    }
}
