//! The kernel's own address space, which is built at boot and loaded on every hart; the address
//! spaces of user programs; and the handler of page faults.

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

use crate::addr::as_span;
use crate::aspace::{AddrSpace, Fault};
use crate::report::Rights;

pub use self::print::{print_maps, print_maps_of};
use self::shared::ASIDS;
pub use self::shared::{AspaceGuard, SharedAspace};

static KERNEL_ASPACE: LazyInit<SharedAspace> = LazyInit::new();

/// Makes an address space with everything that the kernel needs. Each section of the kernel's
/// image has only the rights that it needs, and only code is executable. The rest of RAM is
/// readable and writable. Devices are uncached. Each hart's stack lies above a guard zone.
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
            // SAFETY: the call of `fix_below` after this loop makes user copies refuse these
            // addresses, and no user program is in this address space.
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

/// Maps the stack of hart `number`, and below it a guard zone: an area without rights.
fn map_stack(aspace: &AddrSpace, number: usize, paddr: PhysAddr) -> AxResult {
    let Range { start, end } = hart_stack(number);
    let guard = end - HART_STACK_SLOT;
    let none = MappingFlags::empty();
    aspace.map_alloc(VirtAddr::from_usize(guard), start - guard, none, false)?;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    // SAFETY: the memory is used for this stack alone, because `for_each_region` leaves it out
    // of the linear mapping. The caller's `own_from` makes user copies and operations of other
    // code refuse these addresses.
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

/// The kernel's address space. It exists once [`init_memory_management`] has run.
///
/// Any code may map from [`KERNEL_MAP_BASE`] on. Below [`KERNEL_OWNED_BASE`] it may also unmap
/// and protect what other code has mapped, so code that makes references to such a mapping must
/// keep its addresses to itself. From [`KERNEL_OWNED_BASE`] on, each mapping has an owner
/// ([`own_from`](AddrSpace::own_from)).
pub fn kernel_aspace() -> &'static SharedAspace {
    &KERNEL_ASPACE
}

/// Makes an address space for a user program: `size` bytes from `base` on, with nothing mapped.
/// Where one root page table translates all addresses (riscv64, x86_64), it shares all mappings
/// of the kernel, present and future. Elsewhere the kernel half has a root of its own.
///
/// The first call prepares the kernel's root for sharing. That takes a table under each of its
/// entries: 256 KiB on riscv64 and x86_64.
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

/// Makes instruction fetches of every hart see what has been written to `range`. Addresses in
/// the lower half are those of the address space that this hart has entered.
///
/// It is needed for code in pages that are executable already. [`protect`](AddrSpace::protect)
/// does the same for pages that it makes executable.
pub fn sync_icache(range: Range<usize>) {
    let start = VirtAddr::from_usize(range.start);
    if let Some(space) = KERNEL_ASPACE.space_of(start) {
        space.sync_icache(start, range.len());
    }
}

/// Returns the physical address of the kernel's root page table.
pub fn kernel_page_table_root() -> PhysAddr {
    KERNEL_ASPACE.page_table_root()
}

/// Builds the kernel's address space, loads it on this hart, and installs the handler of page
/// faults. The first hart calls it, once frames can be allocated.
///
/// If there is no memory for the address space, the machine powers off with the status of a
/// failure.
pub fn init_memory_management() {
    #[cfg(all(feature = "objects", not(target_os = "none")))]
    let built = crate::init_zero_frame().and_then(|()| new_kernel_aspace());
    #[cfg(not(all(feature = "objects", not(target_os = "none"))))]
    let built = new_kernel_aspace();
    match built {
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

/// Loads the kernel's address space on this hart. Every hart but the first calls it; the first calls
/// [`init_memory_management`], which does it. Does nothing on a hart that has entered a user
/// program's address space, whose page table has the kernel's mappings already.
pub fn init_memory_management_secondary() {
    if !SharedAspace::entered().is_null() {
        return;
    }
    // SAFETY: `new_kernel_aspace` has mapped the image, RAM and devices in this table at the
    // addresses at which the kernel uses them.
    unsafe { axhal::paging::set_kernel_root(kernel_page_table_root()) };
}

impl SharedAspace {
    /// Returns the address space that translates `addr`, where `self` is the kernel's: in the
    /// lower half the one that this hart has entered.
    #[inline(always)]
    fn space_of(&self, addr: VirtAddr) -> Option<&Self> {
        match addr.as_usize() < USER_END {
            true => Self::entered_ref(),
            false => Some(self),
        }
    }

    /// Makes an access of a user program at `vaddr` possible, if it is allowed. May wait for other
    /// harts.
    ///
    /// # Errors
    ///
    /// Why the access cannot be made.
    #[cfg(feature = "uspace")]
    pub fn user_fault_at_length(&self, vaddr: VirtAddr, access: Access) -> Result<(), Fault> {
        self.fault(vaddr, rights_for(access) | MappingFlags::USER)
    }
}

/// The kernel's address space handles every page fault.
// SAFETY: `handle` accesses only the linear mapping and statics, which are always mapped, and
// never enables interrupts.
unsafe impl PageFaultHandler for SharedAspace {
    #[inline(always)]
    fn handle(&self, addr: VirtAddr, access: Access) -> bool {
        let space = self.space_of(addr);
        space.is_some_and(|space| space.kernel_fault(addr, rights_for(access)))
    }

    #[cfg(feature = "uspace")]
    #[inline(always)]
    fn handle_user(&self, addr: VirtAddr, access: Access) -> bool {
        let space = (addr.as_usize() < USER_END)
            .then(Self::entered_ref)
            .flatten();
        space.is_some_and(|space| space.user_fault(addr, rights_for(access)))
    }

    fn handle_at_length(&self, addr: VirtAddr, access: Access) -> bool {
        loop {
            let result = match self.space_of(addr) {
                Some(space) => space.kernel_fault_at_length(addr, rights_for(access)),
                None => Err(Fault::Unmapped),
            };
            match result {
                Ok(()) => return true,
                // The shrinker may take any lock of the kernel. Code that runs with interrupts
                // enabled holds no such lock, since each of them disables interrupts.
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
        describe_mapping(space, addr, out)?;
        match last_fault::last(addr) {
            Some(Fault::NoMemory) => write!(out, "; out of memory: {}", axalloc::usage()),
            // `describe_mapping` has said what is mapped there.
            Some(Fault::Unmapped) | None => Ok(()),
            Some(fault) => write!(out, "; the access is {fault}"),
        }
    }
}

/// Returns the rights that an access needs.
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

/// Writes what is mapped at `addr`. It does not wait for an operation that changes it.
fn describe_mapping(aspace: &AddrSpace, addr: VirtAddr, out: &mut dyn Write) -> fmt::Result {
    let area = match aspace.try_area_at(addr) {
        Ok(Some(area)) => area,
        Ok(None) => return out.write_str("nothing"),
        Err(_) => return out.write_str("not known: the mappings there are being changed"),
    };
    let Range { start, end } = as_span(area.va_range());
    let (name, rights) = (area.backend().name(), Rights(area.flags()));
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
