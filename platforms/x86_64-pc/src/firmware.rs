//! What the loader and the firmware passed to the kernel: the start info and the ACPI tables.

use core::alloc::Layout;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use axconfig::BOOT_MAPPED;
use axmachine::acpi::Tables;
use axmachine::{HartId, phys_to_virt};
use pvh::start_info::reader::{MemMap, StartInfoReader};

// Relaxed in all accesses of both: the entry code stores them before it starts another hart.
/// The physical address of the start info.
static START_INFO: AtomicU32 = AtomicU32::new(0);
static BOOT_HART: AtomicUsize = AtomicUsize::new(0);

/// Stores what the entry code received: the physical address of the start info, the clock's
/// ticks, and the first hart's id. Called once, before all other functions.
pub fn remember_boot(start_info: u32, ticks: u64, apic_id: u32) {
    START_INFO.store(start_info, Relaxed);
    axmachine::remember_boot_ticks(ticks);
    BOOT_HART.store(apic_id as HartId, Relaxed);
}

/// Returns the first hart's id.
pub fn boot_hart() -> HartId {
    BOOT_HART.load(Relaxed)
}

/// The linear mapping, by which `pvh` reads physical memory.
pub struct LinearMapping;

impl MemMap for LinearMapping {
    fn ptr(&self, paddr: usize, _: Layout) -> *const u8 {
        phys_to_virt(paddr) as *const u8
    }
}

/// Returns the physical address of the start info.
pub fn start_info_paddr() -> usize {
    START_INFO.load(Relaxed) as usize
}

/// Returns the start info; `None` if it is not valid.
pub fn start_info() -> Option<StartInfoReader<'static, LinearMapping>> {
    // SAFETY: by the boot protocol the start info is at this address. It and all that it
    // refers to is below 4 GiB, which the boot page table maps. The inventory reserves and
    // maps it, so the kernel's page table has it, too.
    unsafe { StartInfoReader::from_paddr(START_INFO.load(Relaxed), LinearMapping) }
}

/// Returns the ACPI tables; `None` if the machine has no tables. If the start info has no valid
/// address of them, they are searched below 1 MiB (ACPI 5.2.5.1).
pub fn acpi() -> Option<Tables> {
    const BIOS: Range<usize> = 0xe_0000..0x10_0000;
    let named = start_info().map(|info| info.raw().rsdp_paddr as usize);
    let candidates = named.into_iter().chain(BIOS.step_by(16));
    candidates
        .into_iter()
        .find_map(|paddr| Tables::new(read, paddr))
}

/// Returns `length` bytes of physical memory from `paddr` on. `None` if the boot page table
/// does not map them, or if there are too many for a table.
fn read(paddr: usize, length: usize) -> Option<&'static [u8]> {
    /// An upper bound of the size of a table, in bytes. A larger size is not believed.
    const MAX_LENGTH: usize = 1 << 24;
    if paddr == 0 || paddr > BOOT_MAPPED - MAX_LENGTH || length > MAX_LENGTH {
        return None;
    }
    // SAFETY: the check above makes sure that the boot page table maps the range. In the
    // kernel's page table the inventory's reserved ranges are mapped, and all tables that are
    // read are among them. The kernel does not write there.
    Some(unsafe { core::slice::from_raw_parts(phys_to_virt(paddr) as *const u8, length) })
}
