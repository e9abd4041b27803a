//! What was found at boot, and the questions that `axmachine` asks.

use core::ffi::CStr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::{DeviceTree, HartId, Inventory, MachineIf, StackMemory, phys_to_virt};

/// The devices that the kernel uses: the console, and the power switch.
const NEEDED: [&str; 2] = ["ns16550a", "syscon"];

/// What QEMU handed over: the first hart's id, and the physical addresses of the
/// command line and of the device tree (0 for none).
static HART: AtomicUsize = AtomicUsize::new(0);
static COMMAND_LINE: AtomicUsize = AtomicUsize::new(0);
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// The most bytes that QEMU sets aside for a command line, the zero at its end
/// included.
const COMMAND_LINE_SIZE: usize = 512;

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(command_line: usize, system_table: usize, ticks: u64) {
    // SAFETY: QEMU's boot protocol says that a system table is there, and the
    // boot page table maps all RAM.
    let device_tree = unsafe { crate::efi::device_tree(system_table) };
    HART.store(this_hart_id(), Relaxed);
    COMMAND_LINE.store(command_line, Relaxed);
    DEVICE_TREE.store(device_tree.unwrap_or(0), Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// The hardware id of the hart that runs this ("CPU Identity").
pub fn this_hart_id() -> HartId {
    let id: usize;
    // SAFETY: reading the register changes nothing.
    unsafe { core::arch::asm!("csrrd {}, 0x20", out(reg) id, options(nomem, nostack)) };
    id & 0x1ff
}

/// The device tree; `None` where there is none.
pub fn device_tree() -> Option<DeviceTree> {
    let paddr = DEVICE_TREE.load(Relaxed);
    if paddr == 0 {
        return None;
    }
    // SAFETY: the EFI configuration table says that a device tree is there, it
    // lies in RAM, which both page tables map, and the inventory keeps it.
    unsafe { DeviceTree::new(phys_to_virt(paddr) as *const u8) }
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    /// The command line, which QEMU does not put into the device tree.
    fn boot_args() -> &'static str {
        let start = phys_to_virt(COMMAND_LINE.load(Relaxed)) as *const u8;
        // SAFETY: QEMU has set this much aside there, in RAM, which both page
        // tables map, and `inventory` keeps it.
        let bytes = unsafe { core::slice::from_raw_parts(start, COMMAND_LINE_SIZE) };
        let words = CStr::from_bytes_until_nul(bytes).unwrap_or_default();
        words.to_str().unwrap_or_default()
    }

    fn take_inventory() -> Inventory {
        let mut found = match device_tree() {
            Some(tree) => tree.inventory(HART.load(Relaxed), DEVICE_TREE.load(Relaxed), &NEEDED),
            None => Inventory::new(HART.load(Relaxed)),
        };
        let command_line = (COMMAND_LINE.load(Relaxed), COMMAND_LINE_SIZE);
        found.keep(command_line.0, command_line.1);
        if Self::boot_args().len() == COMMAND_LINE_SIZE - 1 {
            // QEMU cuts them without a word.
            found.leave_alone("boot arguments beyond 511 bytes", command_line);
        }
        found
    }

    fn map_stack(memory: StackMemory) {
        crate::boot::map_stack(memory);
    }

    fn exit(_status: u8) -> ! {
        crate::power::off()
    }
}
