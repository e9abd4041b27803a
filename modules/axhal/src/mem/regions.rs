//! What the kernel's address space maps: regions of the linear mapping, and harts' stacks.

use axplat::mem::{MemRegionFlags as Flags, PhysAddr, PhysMemRegion, virt_to_phys};

use super::free::{for_each_free, subtract, taken};
#[cfg(feature = "smp")]
use super::hart_memory::{stack_memory, stacks_size};
use super::image::{IMAGE_IS_IN_RAM, first_stack, kernel_range, sections};
#[cfg(feature = "smp")]
use crate::hart;

/// Calls `f` for each hart whose stack lies in RAM, with the hart's number and the stack's
/// physical address. [`hart_stack`](axconfig::hart_stack) returns the virtual address.
pub fn for_each_stack(mut f: impl FnMut(usize, PhysAddr)) {
    if IMAGE_IS_IN_RAM {
        f(0, first_stack());
        #[cfg(feature = "smp")]
        for number in 1..hart::count() {
            f(number, PhysAddr::from_usize(stack_memory(number)));
        }
    }
}

/// Calls `f` for every physical range that the kernel's address space has in the linear
/// mapping, with its rights there.
///
/// No range contains a hart's stack. No range contains reserved memory that the kernel does
/// not read, because the firmware may forbid to map it.
pub fn for_each_region(mut f: impl FnMut(PhysMemRegion)) {
    let mut region = |name, start: usize, size: usize, flags| {
        f(PhysMemRegion {
            paddr: PhysAddr::from_usize(start),
            size,
            flags,
            name,
        });
    };
    let phys = |vaddr: usize| virt_to_phys(vaddr.into()).as_usize();
    let image = sections()
        .into_iter()
        .filter(|section| section.name != "stack");
    for s in image.filter(|_| IMAGE_IS_IN_RAM) {
        region(
            s.name,
            phys(s.start),
            s.end - s.start,
            s.flags | Flags::RESERVED,
        );
    }
    let rw = Flags::READ | Flags::WRITE;
    #[cfg(feature = "smp")]
    if let Some(&(start, size)) = taken() {
        let stacks = stacks_size(hart::count());
        region(
            "per-hart data",
            start + stacks,
            size - stacks,
            rw | Flags::RESERVED,
        );
    }
    let own = [kernel_range(), taken().copied().unwrap_or_default()];
    for &range in axmachine::inventory().mapped_reserved() {
        subtract(range, own.iter(), &mut |(start, size)| {
            region("reserved", start, size, rw | Flags::RESERVED);
        });
    }
    for_each_free(|(start, size)| region("free memory", start, size, rw | Flags::FREE));
    for &(start, size) in axplat::mem::mmio_ranges() {
        region("device", start, size, rw | Flags::DEVICE | Flags::RESERVED);
    }
}

/// Returns whether the `size` bytes from the physical address `start` on belong to one
/// device. Returns `false` for a `size` of 0.
pub fn is_device(start: usize, size: usize) -> bool {
    let end = start.checked_add(size).filter(|end| *end > start);
    let mut devices = axplat::mem::mmio_ranges().iter();
    end.is_some_and(|end| devices.any(|&(first, len)| first <= start && end <= first + len))
}
