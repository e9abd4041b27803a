//! Adapts ArceOS's kernel address space to the loads.

use core::ops::Range;
use core::ptr;

use axbench_aspace::{Refused, Space};
use axhal::paging::MappingFlags;
use axhal::trap::{PAGE_FAULT, PageFaultFlags, register_trap_handler};
use axmm::kernel_aspace;
use memory_addr::{VirtAddr, VirtAddrRange};

const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// The range for the loads. Nothing is mapped there: it is above the linear mapping of both
/// machines' physical memory.
const START: usize = 0xffff_ffe0_0000_0000;
const END: usize = 0xffff_fff0_0000_0000;

#[register_trap_handler(PAGE_FAULT)]
fn page_fault(address: VirtAddr, access: PageFaultFlags) -> bool {
    kernel_aspace().lock().handle_page_fault(address, access)
}

/// ArceOS's kernel address space.
pub struct Kernel;

impl Space for Kernel {
    fn range(&self) -> Range<usize> {
        START..END
    }

    fn map(&mut self, start: usize, size: usize, populate: bool) -> Result<(), Refused> {
        let mut aspace = kernel_aspace().lock();
        aspace
            .map_alloc(start.into(), size, RW, populate)
            .map_err(|_| Refused)
    }

    fn unmap(&mut self, start: usize, size: usize) -> Result<(), Refused> {
        kernel_aspace()
            .lock()
            .unmap(start.into(), size)
            .map_err(|_| Refused)
    }

    fn protect(&mut self, start: usize, size: usize, write: bool) -> Result<(), Refused> {
        let flags = if write { RW } else { RO };
        kernel_aspace()
            .lock()
            .protect(start.into(), size, flags)
            .map_err(|_| Refused)
    }

    fn touch(&mut self, page: usize) -> Result<(), Refused> {
        // SAFETY: the load has mapped the page readable and writable, in a range that nothing
        // else uses.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(page).write_volatile(1) };
        Ok(())
    }

    fn find_free(&self, hint: usize, size: usize, limit: Range<usize>) -> Option<usize> {
        let limit = VirtAddrRange::new(limit.start.into(), limit.end.into());
        let found = kernel_aspace()
            .lock()
            .find_free_area(hint.into(), size, limit);
        found.map(VirtAddr::as_usize)
    }

    fn can_write(&self, start: usize, size: usize) -> bool {
        kernel_aspace()
            .lock()
            .can_access_range(start.into(), size, RW)
    }
}
