//! Physical memory: the ranges of the inventory, and their addresses in the kernel half.

use axconfig::PHYS_VIRT_OFFSET;
use axplat::mem::{MemIf, PhysAddr, RawRange, VirtAddr};

use crate::inventory;

/// Returns the virtual address at which the linear mapping has `paddr`.
pub const fn phys_to_virt(paddr: usize) -> usize {
    paddr + PHYS_VIRT_OFFSET
}

struct Mem;

#[axplat::impl_interface]
impl MemIf for Mem {
    fn phys_ram_ranges() -> &'static [RawRange] {
        inventory().ram()
    }

    fn reserved_phys_ram_ranges() -> &'static [RawRange] {
        inventory().reserved()
    }

    fn mmio_ranges() -> &'static [RawRange] {
        inventory().devices()
    }

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(phys_to_virt(paddr.as_usize()))
    }

    fn virt_to_phys(vaddr: VirtAddr) -> PhysAddr {
        PhysAddr::from_usize(vaddr.as_usize() - PHYS_VIRT_OFFSET)
    }
}
