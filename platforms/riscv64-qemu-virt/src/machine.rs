//! What was found at boot, and the questions that `axmachine` asks.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};
use axmachine::{CacheIf, DeviceTree, HartId, Inventory, MachineIf, StackMemory, phys_to_virt};

/// The devices that the kernel uses: the console, and the power switch.
const NEEDED: [&str; 2] = ["ns16550a", "sifive,test0"];

/// Larger than any device tree.
const MAX_TREE: usize = 1 << 30;

/// What the firmware handed over: the first hart's id, and the device tree's
/// physical address.
static HART: AtomicUsize = AtomicUsize::new(0);
static DEVICE_TREE: AtomicUsize = AtomicUsize::new(0);

/// Keeps what the entry code was given. Called once, before anything else.
pub fn remember_boot(hart_id: HartId, device_tree: usize, ticks: u64) {
    HART.store(hart_id, Relaxed);
    let near = match device_tree < MAX_PHYS - MAX_TREE {
        true => Some(device_tree),
        // SAFETY: this is the first hart's first act, and by the SBI boot protocol a
        // device tree is there.
        false => unsafe { bring_near(device_tree) },
    };
    DEVICE_TREE.store(near.unwrap_or(0), Relaxed);
    axmachine::remember_boot_ticks(ticks);
}

/// Copies the device tree at `paddr`, beyond what the kernel maps, to RAM that it does
/// map: firmware puts it at the end of RAM, however much there is. Returns where the
/// copy is; `None` if there is no tree or no room.
///
/// # Safety
///
/// A device tree is at `paddr`, the boot page table is in use, and no other hart runs.
unsafe fn bring_near(paddr: usize) -> Option<usize> {
    unsafe extern "C" {
        static _ekernel: u8;
    }
    // SAFETY: the caller's promise.
    let far = unsafe { crate::boot::window(paddr) };
    // SAFETY: the window has a GiB from there on, and nothing writes to the tree.
    let tree = unsafe { DeviceTree::new(far) }?;
    let found = tree.inventory(0, paddr, &[]);
    let image_end = &raw const _ekernel as usize - PHYS_VIRT_OFFSET;
    let near = found.room(image_end, tree.size())?;
    // SAFETY: `near` is RAM that the boot page table maps. It is neither reserved nor
    // the image's, and from now on kept as the device tree.
    unsafe { far.copy_to_nonoverlapping(phys_to_virt(near) as *mut u8, tree.size()) };
    Some(near)
}

/// The device tree; `None` where the firmware gave none.
pub fn device_tree() -> Option<DeviceTree> {
    let paddr = DEVICE_TREE.load(Relaxed);
    if paddr == 0 {
        return None;
    }
    // SAFETY: by the SBI boot protocol the address is a device tree, or it is that of
    // a copy of one. It lies in RAM below `MAX_PHYS`, which both page tables map at
    // this offset, and the inventory keeps it.
    unsafe { DeviceTree::new(phys_to_virt(paddr) as *const u8) }
}

struct Machine;

#[axplat::impl_interface]
impl MachineIf for Machine {
    fn boot_args() -> &'static str {
        device_tree()
            .map(|tree| tree.boot_args())
            .unwrap_or_default()
    }

    fn take_inventory() -> Inventory {
        match device_tree() {
            Some(tree) => tree.inventory(HART.load(Relaxed), DEVICE_TREE.load(Relaxed), &NEEDED),
            None => Inventory::new(HART.load(Relaxed)),
        }
    }

    fn map_stack(memory: StackMemory) {
        crate::boot::map_stack(memory);
    }

    fn exit(status: u8) -> ! {
        crate::power::exit(status)
    }
}

struct Cache;

#[axplat::impl_interface]
impl CacheIf for Cache {
    fn zero_block() -> Option<usize> {
        device_tree()?.zero_block()
    }
}
