//! The kernel's own address space: built at boot, loaded on every hart, and
//! asked about every page fault.

use core::fmt::{self, Write};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering};

use axconfig::{KERNEL_MAP_BASE, KERNEL_MAP_END, PHYS_VIRT_OFFSET, USER_END};
use axerrno::{AxError, AxResult};
use axhal::mem::MemRegionFlags;
use axhal::trap::{Access, PageFault, PageFaultHandler};
use axlog::{error, info};
use kspin::{SpinNoIrq, SpinNoIrqGuard};
use lazyinit::LazyInit;
use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::AddrSpace;

static KERNEL_ASPACE: LazyInit<KernelAspace> = LazyInit::new();

/// Nobody holds the lock.
const NOBODY: usize = usize::MAX;

/// The kernel's address space, and the lock on it.
pub struct KernelAspace {
    lock: SpinNoIrq<AddrSpace>,
    /// The hart that holds the lock, to tell a fault under it from all others.
    holder: AtomicUsize,
    root: PhysAddr,
}

/// The locked address space of the kernel. Interrupts are kept out meanwhile.
pub struct KernelAspaceGuard<'a> {
    guard: SpinNoIrqGuard<'a, AddrSpace>,
    holder: &'a AtomicUsize,
}

impl KernelAspace {
    fn new(aspace: AddrSpace) -> Self {
        Self {
            root: aspace.page_table_root(),
            lock: SpinNoIrq::new(aspace),
            holder: AtomicUsize::new(NOBODY),
        }
    }

    /// Waits until no other hart works on the address space, answering their
    /// TLB requests meanwhile.
    pub fn lock(&self) -> KernelAspaceGuard<'_> {
        let mut turn = 0;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            axhal::tlb::answer();
            axhal::hart::relax(turn);
            turn += 1;
        }
    }

    /// The lock, if nobody has it.
    pub fn try_lock(&self) -> Option<KernelAspaceGuard<'_>> {
        let guard = self.lock.try_lock()?;
        self.holder
            .store(axhal::hart::this_hart(), Ordering::Relaxed);
        Some(KernelAspaceGuard {
            guard,
            holder: &self.holder,
        })
    }

    fn held_by_this_hart(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == axhal::hart::this_hart()
    }
}

impl Drop for KernelAspaceGuard<'_> {
    fn drop(&mut self) {
        self.holder.store(NOBODY, Ordering::Relaxed);
    }
}

impl Deref for KernelAspaceGuard<'_> {
    type Target = AddrSpace;

    fn deref(&self) -> &AddrSpace {
        &self.guard
    }
}

impl DerefMut for KernelAspaceGuard<'_> {
    fn deref_mut(&mut self) -> &mut AddrSpace {
        &mut self.guard
    }
}

/// An address space with everything the kernel needs: each part of its image
/// with exactly its rights, the rest of RAM readable and writable, devices
/// uncached; nothing executable but code, and no guard page.
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
            result = aspace.map_linear_named(region.name, vaddr, region.paddr, region.size, flags);
        }
    });
    aspace.fix_below(VirtAddr::from_usize(KERNEL_MAP_BASE));
    result.map(|()| aspace)
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
pub fn kernel_aspace() -> &'static KernelAspace {
    &KERNEL_ASPACE
}

/// An address space for a user program: `size` bytes from `base` on, with nothing
/// mapped. Where one root page table translates all addresses (riscv64, x86_64),
/// what the kernel maps, now or later, is there too; elsewhere the kernel half has
/// a root of its own.
///
/// The first one makes the kernel's root ready for it: a table under each of its
/// entries, 1 MiB on riscv64 and x86_64.
///
/// # Errors
///
/// `InvalidInput` if the range is empty, not page-aligned, or not in the user half;
/// `NoMemory`.
pub fn new_user_aspace(base: VirtAddr, size: usize) -> AxResult<AddrSpace> {
    let end = base.as_usize().checked_add(size);
    if end.is_none_or(|end| end > USER_END) {
        return Err(AxError::InvalidInput);
    }
    let mut aspace = AddrSpace::new_empty_user(base, size)?;
    if axhal::paging::ONE_ROOT {
        let mut kernel = KERNEL_ASPACE.lock();
        kernel.share()?;
        aspace.copy_mappings_from(&kernel)?;
    }
    Ok(aspace)
}

/// The physical address of the kernel's root page table.
pub fn kernel_page_table_root() -> PhysAddr {
    KERNEL_ASPACE.root
}

/// Builds the kernel's address space, runs in it from now on, and takes charge
/// of page faults. The first hart calls it, once frames can be had.
///
/// Without memory for it there is nothing to run in: the machine ends.
pub fn init_memory_management() {
    match new_kernel_aspace() {
        Ok(aspace) => {
            info!("kernel address space {aspace:?}");
            KERNEL_ASPACE.call_once(|| KernelAspace::new(aspace));
        }
        Err(error) => {
            error!("the kernel's address space cannot be built: {error:?}");
            axhal::power::exit(axhal::trap::FAILED);
        }
    }
    axhal::trap::set_page_fault_handler(&KernelFaults);
    init_memory_management_secondary();
}

/// Runs in the kernel's address space from now on. Every other hart calls it.
pub fn init_memory_management_secondary() {
    // SAFETY: the table maps all of the image, of RAM and of the devices where
    // the kernel uses them (`new_kernel_aspace`).
    unsafe { axhal::paging::set_kernel_root(kernel_page_table_root()) };
}

/// Page faults of the kernel.
struct KernelFaults;

impl PageFaultHandler for KernelFaults {
    fn handle(&self, fault: &PageFault) -> bool {
        // A fault of the code that works on the address space itself cannot be
        // helped by that code.
        if KERNEL_ASPACE.held_by_this_hart() {
            return false;
        }
        let access = match fault.access {
            Access::WRITE => MappingFlags::WRITE,
            Access::EXECUTE => MappingFlags::EXECUTE,
            _ => MappingFlags::READ,
        };
        KERNEL_ASPACE.lock().handle_page_fault(fault.addr, access)
    }

    fn describe(&self, addr: VirtAddr, out: &mut dyn Write) -> fmt::Result {
        let Some(aspace) = KERNEL_ASPACE.try_lock() else {
            return out.write_str("not known: a hart is changing the address space");
        };
        let Some(area) = aspace.area_at(addr) else {
            return out.write_str("nothing");
        };
        let span = area.span();
        write!(
            out,
            "\"{}\" {:#x}..{:#x} ",
            area.name(),
            span.start,
            span.end
        )?;
        for (right, letter) in [
            (MappingFlags::READ, 'r'),
            (MappingFlags::WRITE, 'w'),
            (MappingFlags::EXECUTE, 'x'),
        ] {
            out.write_char(if area.flags().contains(right) {
                letter
            } else {
                '-'
            })?;
        }
        match aspace.query(addr) {
            Some(page) => write!(
                out,
                ", a page of {} KiB at physical {:#x}",
                page.size >> 10,
                page.paddr.as_usize()
            ),
            None => out.write_str(", no page yet"),
        }
    }
}
