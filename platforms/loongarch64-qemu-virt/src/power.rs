//! Powering off. The machine has no channel for a status but the console.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicUsize};

use axplat::power::PowerIf;

use axmachine::phys_to_virt;

/// The virtual address of the power switch, 0 without one, and the byte that switches
/// off. Kept from boot, so that powering off needs nothing but these.
static SWITCH: AtomicUsize = AtomicUsize::new(0);
static OFF: AtomicU8 = AtomicU8::new(0);

/// Finds the power switch: the device tree's `syscon-poweroff`, in the machine's one
/// system controller.
pub fn init() {
    if let Some((register, value)) = find() {
        OFF.store(value, Relaxed);
        SWITCH.store(phys_to_virt(register), Relaxed);
    }
}

fn find() -> Option<(usize, u8)> {
    let tree = crate::machine::device_tree()?;
    let (base, _) = tree.device("syscon")?;
    let offset = tree.device_u32("syscon-poweroff", "offset")?;
    let value = tree.device_u32("syscon-poweroff", "value")?;
    Some((base.checked_add(offset as usize)?, value as u8))
}

/// Powers off.
pub fn off() -> ! {
    let register = SWITCH.load(Relaxed);
    if register != 0 {
        // SAFETY: the device tree said that a register of one byte is there that
        // powers off by this value, and both page tables map it.
        unsafe { (register as *mut u8).write_volatile(OFF.load(Relaxed)) };
    }
    park()
}

/// Sleeps for ever.
pub fn park() -> ! {
    loop {
        // SAFETY: waiting for an interrupt changes nothing.
        unsafe { core::arch::asm!("idle 0", options(nomem, nostack)) };
    }
}

struct Power;

#[axplat::impl_interface]
impl PowerIf for Power {
    #[cfg(feature = "smp")]
    fn cpu_boot(cpu_id: usize, stack_top_paddr: usize) {
        crate::secondary::call(cpu_id, stack_top_paddr);
    }

    fn system_off() -> ! {
        off()
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}
