//! What was found at boot, and the questions that `axmachine` asks.

use core::alloc::Layout;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use axconfig::PAGE_SIZE;
use axmachine::{HartId, Inventory, MachineIf, phys_to_virt};
use pvh::start_info::reader::{MemMap, StartInfoReader};
use pvh::start_info::{MemmapType, StartInfo};

use crate::acpi::{Table, Tables};

/// What the loader handed over: the start info's physical address; and the first
/// hart's id.
static START_INFO: AtomicU32 = AtomicU32::new(0);
static HART: AtomicUsize = AtomicUsize::new(0);

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(start_info: u32, ticks: u64, apic_id: u32) {
    START_INFO.store(start_info, Relaxed);
    axmachine::remember_boot_ticks(ticks);
    HART.store(apic_id as HartId, Relaxed);
}

/// Where both page tables map physical memory.
struct KernelHalf;

impl MemMap for KernelHalf {
    fn ptr(&self, paddr: usize, _: Layout) -> *const u8 {
        phys_to_virt(paddr) as *const u8
    }
}

fn start_info() -> Option<StartInfoReader<'static, KernelHalf>> {
    // SAFETY: by the boot protocol the start info is there and what it names
    // lies below 4 GiB, which the boot page table maps; `discover` keeps it.
    unsafe { StartInfoReader::from_paddr(START_INFO.load(Relaxed), KernelHalf) }
}

/// The ACPI tables; `None` where the loader found none.
pub fn acpi() -> Option<Tables> {
    start_info().and_then(|info| Tables::new(info.raw().rsdp_paddr as usize))
}

fn discover() -> Inventory {
    let mut found = Inventory::new(HART.load(Relaxed));
    if let Some(info) = start_info() {
        add_memory(&info, &mut found);
    }
    if let Some(tables) = acpi() {
        tables
            .all()
            .for_each(|table| keep(table.range(), &mut found));
        add_apics(&tables, &mut found);
        add_timer_and_buses(&tables, &mut found);
    }
    #[cfg(feature = "smp")]
    crate::secondary::choose_page(&mut found);
    found.finish()
}

/// Adds the RAM on the loader's map, and keeps what the loader handed over.
fn add_memory(info: &StartInfoReader<KernelHalf>, found: &mut Inventory) {
    for entry in info.memmap() {
        let (start, size) = (entry.addr as usize, entry.size as usize);
        match entry.ty() {
            MemmapType::Ram => found.add_ram(start, size),
            // RAM whose contents are the firmware's.
            MemmapType::Acpi | MemmapType::Nvs => keep((start, size), found),
            _ => {}
        }
    }
    let raw = info.raw();
    let start_info = START_INFO.load(Relaxed) as usize;
    keep((start_info, size_of::<StartInfo>()), found);
    keep(
        (raw.memmap_paddr as usize, size_of_val(info.memmap())),
        found,
    );
    keep((raw.rsdp_paddr as usize, 1), found);
    let words = info.cmdline().map_or(0, |words| words.count_bytes() + 1);
    keep((raw.cmdline_paddr as usize, words), found);
}

/// Keeps a range readable and from being given out, as whole pages: RAM, though
/// the loader's map may leave it out or call it reserved, as it calls devices.
fn keep((start, size): (usize, usize), found: &mut Inventory) {
    let first = start & !(PAGE_SIZE - 1);
    let end = (start + size).next_multiple_of(PAGE_SIZE);
    if size > 0 {
        found.add_ram(first, end - first);
        found.reserve(first, end - first);
    }
}

/// Adds the harts and interrupt controllers on the Multiple APIC Description
/// Table (ACPI 5.2.12).
fn add_apics(tables: &Tables, found: &mut Inventory) {
    /// The flag of a processor that can be used.
    const ENABLED: u32 = 1;
    let Some(madt) = tables.find(b"APIC") else {
        return;
    };
    let mut add_hart = |id: Option<u32>, flags: Option<u32>| {
        if let (Some(id), Some(flags)) = (id, flags)
            && flags & ENABLED != 0
        {
            found.add_hart(id as HartId);
        }
    };
    let is_type = |wanted| move |record: &Table| record.u8(0) == Some(wanted);
    for local in madt.records(44).filter(is_type(0)) {
        add_hart(local.u8(3).map(u32::from), local.u32(4));
    }
    for local in madt.records(44).filter(is_type(9)) {
        add_hart(local.u32(4), local.u32(8));
    }
    let shared = madt
        .records(44)
        .filter(is_type(1))
        .filter_map(|io| io.u32(4));
    for paddr in madt.u32(36).into_iter().chain(shared) {
        found.add_device(paddr as usize, PAGE_SIZE);
    }
}

/// Adds the registers of the High Precision Event Timer, and PCI Express's
/// configuration space, a MiB a bus (PCI Firmware Specification 4.1.2).
fn add_timer_and_buses(tables: &Tables, found: &mut Inventory) {
    if let Some(hpet) = tables.find(b"HPET").and_then(|table| table.u64(44)) {
        found.add_device(hpet as usize, PAGE_SIZE);
    }
    let Some(mcfg) = tables.find(b"MCFG") else {
        return;
    };
    for offset in (44..).step_by(16) {
        let (Some(base), Some(first), Some(last)) =
            (mcfg.u64(offset), mcfg.u8(offset + 10), mcfg.u8(offset + 11))
        else {
            return;
        };
        let buses = usize::from(last.saturating_sub(first)) + 1;
        found.add_device(base as usize + (usize::from(first) << 20), buses << 20);
    }
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        let words = start_info().and_then(|info| info.cmdline());
        words
            .and_then(|words| words.to_str().ok())
            .unwrap_or_default()
    }

    fn take_inventory() -> Inventory {
        discover()
    }

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
