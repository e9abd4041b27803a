//! Free RAM at boot, and the part of it that the boot takes for good.

use axconfig::PAGE_SIZE;
#[cfg(feature = "smp")]
use axplat::mem::PhysAddr;
use axplat::mem::RawRange;
use spin::Once;

use super::image::kernel_range;

/// The memory that the boot has taken for good, by [`take_boot_memory`].
static TAKEN: Once<RawRange> = Once::new();

/// Returns the memory that the boot has taken for good, or `None` if it has taken no memory.
pub fn taken() -> Option<&'static RawRange> {
    TAKEN.get()
}

/// Calls `f` for each physical range of free RAM, in whole pages. The kernel image, what the
/// firmware has reserved, and what the boot has taken are not free.
///
/// The first frame of physical memory is never passed to `f`, so that no frame in use has the
/// address 0.
pub fn for_each_free(mut f: impl FnMut(RawRange)) {
    let own = [(0, PAGE_SIZE), kernel_range()];
    let reserved = axplat::mem::reserved_phys_ram_ranges();
    let used = own.iter().chain(TAKEN.get()).chain(reserved);
    for &range in axplat::mem::phys_ram_ranges() {
        subtract(range, used.clone(), &mut f);
    }
}

/// Calls `f` for each part of `range` that is not in `used`, in ascending order.
///
/// The ranges in `used` may overlap and are not sorted. They are few. A sorted copy would
/// need an array, whose size would limit their number.
pub fn subtract<'a>(
    (start, size): RawRange,
    used: impl Iterator<Item = &'a RawRange> + Clone,
    f: &mut impl FnMut(RawRange),
) {
    let end = start + size;
    let mut free = start;
    while free < end {
        let is_here = |range: &&RawRange| range.0 <= free && free - range.0 < range.1;
        if let Some(&(start, size)) = used.clone().find(is_here) {
            free = start + size;
            continue;
        }
        let later = used.clone().map(|range| range.0).filter(|at| *at > free);
        let next = later.fold(end, usize::min);
        f((free, next - free));
        free = next;
    }
}

/// Takes `size` bytes of free RAM for good, page-aligned. Returns their physical address.
///
/// It takes the lowest range that is large enough, above the kernel image, and below
/// `BOOT_MAPPED`, up to which every boot page table maps memory. Returns `None` if there is no
/// such range. Called once.
#[cfg(feature = "smp")]
pub fn take_boot_memory(size: usize) -> Option<PhysAddr> {
    let size = size.next_multiple_of(PAGE_SIZE);
    let (image, _) = kernel_range();
    let mut found = None;
    for_each_free(|(start, available)| {
        // Memory below the image may be the firmware's.
        let mapped = start + size <= axconfig::BOOT_MAPPED;
        if found.is_none() && start > image && available >= size && mapped {
            found = Some(start);
        }
    });
    let start = found?;
    TAKEN.call_once(|| (start, size));
    Some(PhysAddr::from_usize(start))
}
