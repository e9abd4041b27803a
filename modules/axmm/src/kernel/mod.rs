//! The kernel's own address space, built at boot and loaded on every hart; those of
//! user programs beside it; and whom a page fault goes to.

mod last_fault;
mod print;
mod shared;

use core::fmt::{self, Write};
use core::ops::Range;

use axconfig::{
    HART_STACK_SLOT, KERNEL_MAP_BASE, KERNEL_MAP_END, KERNEL_OWNED_BASE, PHYS_VIRT_OFFSET,
    USER_BASE, USER_END, hart_stack,
};
use axerrno::{AxError, AxResult};
use axhal::mem::MemRegionFlags;
use axhal::trap::{Access, PageFaultHandler};
use axlog::{error, info};
use lazyinit::LazyInit;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::aspace::{AddrSpace, Fault};
use crate::report::listing::Rights;

pub use self::print::print_maps;
use self::shared::ASIDS;
pub use self::shared::{AspaceGuard, SharedAspace};

static KERNEL_ASPACE: LazyInit<SharedAspace> = LazyInit::new();

/// An address space with everything the kernel needs: each part of its image
/// with exactly its rights, the rest of RAM readable and writable, devices
/// uncached; each hart's stack above its guard zone; nothing executable but code.
///
/// # Errors
///
/// `NoMemory`.
pub fn new_kernel_aspace() -> AxResult<AddrSpace> {
    let base = VirtAddr::from_usize(PHYS_VIRT_OFFSET);
    let mut aspace = AddrSpace::new_empty(base, KERNEL_MAP_END - PHYS_VIRT_OFFSET)?;
    let mut result = Ok(());
    axhal::mem::for_each_region(|region| {
        if result.is_ok() {
            let vaddr = axhal::mem::phys_to_virt(region.paddr);
            let flags = rights(region.flags);
            let (name, paddr, size) = (region.name, region.paddr, region.size);
            // SAFETY: it is fixed below, before anything can be copied through it.
            result = unsafe { aspace.map_linear_named(name, vaddr, paddr, size, flags) };
        }
    });
    aspace.fix_below(VirtAddr::from_usize(KERNEL_MAP_BASE));
    axhal::mem::for_each_stack(|number, paddr| {
        if result.is_ok() {
            result = map_stack(&aspace, number, paddr);
        }
    });
    aspace.own_from(VirtAddr::from_usize(KERNEL_OWNED_BASE));
    result.map(|()| aspace)
}

/// Maps the stack of hart `number`, and its guard zone as an area without rights.
fn map_stack(aspace: &AddrSpace, number: usize, paddr: PhysAddr) -> AxResult {
    let Range { start, end } = hart_stack(number);
    let guard = end - HART_STACK_SLOT;
    let none = MappingFlags::empty();
    aspace.map_alloc(VirtAddr::from_usize(guard), start - guard, none, false)?;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    // SAFETY: the memory is the stack's for good, and the linear mapping leaves it out
    // (`for_each_region`). The hart alone changes what is mapped here (`own_from`).
    unsafe { aspace.map_linear_named("stack", start.into(), paddr, end - start, rights) }
}

fn rights(region: MemRegionFlags) -> MappingFlags {
    let pairs = [
        (MemRegionFlags::READ, MappingFlags::READ),
        (MemRegionFlags::WRITE, MappingFlags::WRITE),
        (MemRegionFlags::EXECUTE, MappingFlags::EXECUTE),
        (MemRegionFlags::DEVICE, MappingFlags::DEVICE),
        (MemRegionFlags::UNCACHED, MappingFlags::UNCACHED),
    ];
    let given = pairs.iter().filter(|(from, _)| region.contains(*from));
    given.fold(MappingFlags::empty(), |all, (_, flag)| all | *flag)
}

/// The kernel's address space. It exists once
/// [`init_memory_management`] has run.
///
/// From [`KERNEL_MAP_BASE`] on anybody may map, and, below [`KERNEL_OWNED_BASE`], unmap and
/// protect what others have mapped. So code that makes references to such a mapping must
/// keep its addresses to itself. From [`KERNEL_OWNED_BASE`] on each mapping has an owner
/// ([`own_from`](AddrSpace::own_from)).
pub fn kernel_aspace() -> &'static SharedAspace {
    &KERNEL_ASPACE
}

/// An address space for a user program: `size` bytes from `base` on, with nothing
/// mapped. Where one root page table translates all addresses (riscv64, x86_64),
/// what the kernel maps, now or later, is there too; elsewhere the kernel half has
/// a root of its own.
///
/// The first one makes the kernel's root ready for it: a table under each of its
/// entries, 256 KiB on riscv64 and x86_64.
///
/// # Errors
///
/// `InvalidInput` if the range is empty, not page-aligned, or not in the user half;
/// `NoMemory`.
pub fn new_user_aspace(base: VirtAddr, size: usize) -> AxResult<AddrSpace> {
    let end = base.as_usize().checked_add(size);
    if end.is_none_or(|end| end > USER_END) || !(USER_BASE..USER_END).contains(&base.as_usize()) {
        return Err(AxError::InvalidInput);
    }
    if !axhal::paging::ONE_ROOT {
        return AddrSpace::new_empty_user(base, size);
    }
    KERNEL_ASPACE.share()?;
    AddrSpace::new_user_with(base, size, &KERNEL_ASPACE)
}

/// Makes instruction fetches of every hart see what the caller has written to a range of
/// addresses, or knows to have been written: of the kernel's, or in the lower half those of
/// the address space that this hart has entered.
///
/// Only for code in pages that are executable already. To make pages executable
/// ([`protect`](AddrSpace::protect)) does it, too.
pub fn sync_icache(range: Range<usize>) {
    let start = VirtAddr::from_usize(range.start);
    if let Some(space) = KERNEL_ASPACE.space_of(start) {
        space.sync_icache(start, range.len());
    }
}

/// The physical address of the kernel's root page table.
pub fn kernel_page_table_root() -> PhysAddr {
    KERNEL_ASPACE.page_table_root()
}

/// Builds the kernel's address space, runs in it from now on, and takes charge
/// of page faults. The first hart calls it, once frames can be had.
///
/// Without memory for it there is nothing to run in: the machine ends.
pub fn init_memory_management() {
    match new_kernel_aspace() {
        Ok(aspace) => {
            info!("kernel address space {aspace:?}");
            KERNEL_ASPACE.call_once(|| SharedAspace::new(aspace));
        }
        Err(error) => {
            error!("the kernel's address space cannot be built: {error:?}");
            axhal::power::exit(axhal::power::FAILED);
        }
    }
    ASIDS.set_max(axhal::paging::max_asid());
    axhal::trap::set_page_fault_handler(kernel_aspace());
    init_memory_management_secondary();
}

/// Runs in the kernel's address space from now on. Every other hart calls it. A hart that
/// is in a user program's is in the kernel's as well, and stays where it is.
pub fn init_memory_management_secondary() {
    if !SharedAspace::entered().is_null() {
        return;
    }
    // SAFETY: the table maps all of the image, of RAM and of the devices where
    // the kernel uses them (`new_kernel_aspace`).
    unsafe { axhal::paging::set_kernel_root(kernel_page_table_root()) };
}

impl SharedAspace {
    /// Whose address it is, if this is the kernel's: its own, or in the lower half the
    /// address space's that this hart has entered.
    #[inline(always)]
    fn space_of(&self, addr: VirtAddr) -> Option<&Self> {
        match addr.as_usize() < USER_END {
            true => Self::entered_here(),
            false => Some(self),
        }
    }
}

/// The kernel's is asked about every page fault.
// SAFETY: `handle` uses only memory that is mapped already, and lets no interrupt in.
unsafe impl PageFaultHandler for SharedAspace {
    #[inline(always)]
    fn handle(&self, addr: VirtAddr, access: Access) -> bool {
        let space = self.space_of(addr);
        space.is_some_and(|space| space.kernel_fault(addr, rights_for(access)))
    }

    fn handle_at_length(&self, addr: VirtAddr, access: Access) -> bool {
        loop {
            let fault = match self.space_of(addr) {
                Some(space) => space.kernel_fault_at_length(addr, rights_for(access)),
                None => Err(Fault::Unmapped),
            };
            match fault {
                Ok(()) => return true,
                // Code that has interrupts in holds no lock of the kernel.
                Err(Fault::NoMemory) if axhal::arch::irqs_enabled() && axalloc::run_shrinker() => {}
                Err(fault) => {
                    last_fault::note(addr, fault);
                    return false;
                }
            }
        }
    }

    fn describe(&self, addr: VirtAddr, out: &mut dyn Write) -> fmt::Result {
        let Some(space) = self.space_of(addr) else {
            return out.write_str("nothing: no user's address space is entered");
        };
        describe(space, addr, out)?;
        match last_fault::last(addr) {
            Some(Fault::NoMemory) => write!(out, "; out of memory: {}", axalloc::usage()),
            // What is mapped there has been said.
            Some(Fault::Unmapped) | None => Ok(()),
            Some(fault) => write!(out, "; the access is {fault}"),
        }
    }
}

/// The rights that an access needs.
#[inline(always)]
fn rights_for(access: Access) -> MappingFlags {
    let mut wanted = MappingFlags::empty();
    for (access_to, right) in [
        (Access::READ, MappingFlags::READ),
        (Access::WRITE, MappingFlags::WRITE),
        (Access::EXECUTE, MappingFlags::EXECUTE),
    ] {
        wanted.set(right, access.contains(access_to));
    }
    wanted
}

/// Says what is mapped at `addr`, without waiting for whatever changes it.
fn describe(aspace: &AddrSpace, addr: VirtAddr, out: &mut dyn Write) -> fmt::Result {
    let area = match aspace.try_area_at(addr) {
        Ok(Some(area)) => area,
        Ok(None) => return out.write_str("nothing"),
        Err(_) => return out.write_str("not known: the mappings there are being changed"),
    };
    let Range { start, end } = area.span();
    let (name, rights) = (area.name(), Rights(area.flags()));
    write!(out, "\"{name}\" {start:#x}..{end:#x} {rights}")?;
    match aspace.try_query(addr) {
        Ok(Some(page)) => write!(
            out,
            ", a page of {} KiB at physical {:#x}",
            page.size >> 10,
            page.paddr.as_usize()
        ),
        Ok(None) => out.write_str(", no page yet"),
        Err(_) => out.write_str(", its pages are being changed"),
    }
}
