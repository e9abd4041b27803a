//! What was found at boot, and the questions that `axmachine` asks.

use core::alloc::Layout;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use axconfig::BOOT_MAPPED;
use axmachine::acpi::Tables;
use axmachine::{HartId, Inventory, MachineIf, StackMemory, phys_to_virt};
use pvh::start_info::reader::{MemMap, StartInfoReader};
use pvh::start_info::{MemmapType, StartInfo};

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

/// The ACPI tables; `None` where there are none. A loader that does not name them,
/// or names them wrongly, leaves them where ACPI 5.2.5.1 has them looked for.
pub fn acpi() -> Option<Tables> {
    const BIOS: Range<usize> = 0xe_0000..0x10_0000;
    let named = start_info().map(|info| info.raw().rsdp_paddr as usize);
    let places = named.into_iter().chain(BIOS.step_by(16));
    places
        .into_iter()
        .find_map(|place| Tables::new(read, place))
}

/// `length` bytes of physical memory from `paddr`; `None` if that is nowhere or
/// too long to be a table.
fn read(paddr: usize, length: usize) -> Option<&'static [u8]> {
    /// Longer than any table: what claims to be longer is none.
    const MAX_LENGTH: usize = 1 << 24;
    if paddr == 0 || paddr > BOOT_MAPPED - MAX_LENGTH || length > MAX_LENGTH {
        return None;
    }
    // SAFETY: it was just checked that the boot page table maps the range, and
    // tables are read before the kernel has another, or are among what it keeps;
    // nobody writes there.
    Some(unsafe { core::slice::from_raw_parts(phys_to_virt(paddr) as *const u8, length) })
}

fn discover() -> Inventory {
    let mut found = Inventory::new(HART.load(Relaxed));
    if let Some(info) = start_info() {
        add_memory(&info, &mut found);
    }
    if let Some(tables) = acpi() {
        tables.add_to(&mut found);
    }
    #[cfg(feature = "smp")]
    crate::secondary::choose_page(&mut found);
    found
}

/// Adds the RAM on the loader's map, and keeps what the loader handed over. Only what
/// is plain RAM is used: not what firmware has its data in (ACPI, NVS), what is broken
/// (unusable, disabled), nor what keeps its contents without power.
fn add_memory(info: &StartInfoReader<KernelHalf>, found: &mut Inventory) {
    let map = info.memmap();
    found.add_map(map.iter().map(|entry| {
        let range = (entry.addr as usize, entry.size as usize);
        (range, entry.ty() == MemmapType::Ram)
    }));
    let raw = info.raw();
    let start_info = START_INFO.load(Relaxed) as usize;
    found.keep(start_info, size_of::<StartInfo>());
    found.keep(raw.memmap_paddr as usize, size_of_val(map));
    let words = info.cmdline().map_or(0, |words| words.count_bytes() + 1);
    found.keep(raw.cmdline_paddr as usize, words);
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

    fn map_stack(memory: StackMemory) {
        crate::boot::map_stack(memory);
    }

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}
