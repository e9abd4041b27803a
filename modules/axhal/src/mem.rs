//! Physical memory: what is where, what the boot has taken, and zeroing.

mod free;
#[cfg(feature = "smp")]
mod hart_memory;
mod image;
mod regions;

pub use axplat::mem::{MemRegionFlags, phys_to_virt, total_ram_size, virt_to_phys};
pub use free::for_each_free;
#[cfg(feature = "smp")]
pub(crate) use hart_memory::take_hart_memory;
pub(crate) use image::section_of;
pub use image::{IMAGE_IS_IN_RAM, Section, sections};
pub use regions::{for_each_region, for_each_stack, is_device};

pub use crate::arch::init_zeroing;

/// Zeroes `len` bytes from `start` on, which are whole pages.
///
/// It uses the fastest way that the machine has, once [`init_zeroing`] has chosen it. Until
/// then it uses one that works on every machine.
///
/// # Safety
///
/// `start` is page-aligned and `len` a multiple of the page size. The pages are mapped as
/// writable, cached memory, not as a device, and the caller owns them exclusively.
#[inline]
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    debug_assert!((start.addr() | len).is_multiple_of(axconfig::PAGE_SIZE));
    // SAFETY: the caller's promise is the same as this function's requirement.
    unsafe { crate::arch::zero_pages(start, len) };
}
