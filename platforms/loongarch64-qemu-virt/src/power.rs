//! Powers off. The machine has no device for an exit status; the console's last line shows it.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicUsize};

use axplat::power::PowerIf;

use axmachine::phys_to_virt;

/// The virtual address of the power switch; 0 without a power switch. It is stored at boot,
/// so that powering off does not depend on the device tree.
///
/// Relaxed in all accesses: `init` stores both before the first hart starts another.
static SWITCH: AtomicUsize = AtomicUsize::new(0);
/// The byte that switches off.
static OFF_VALUE: AtomicU8 = AtomicU8::new(0);

/// Finds the power switch: the device tree's `syscon-poweroff`, a register of the machine's
/// only system controller.
pub fn init() {
    if let Some((register, value)) = find() {
        OFF_VALUE.store(value, Relaxed);
        SWITCH.store(phys_to_virt(register), Relaxed);
    }
}

/// Returns the physical address of the power switch and the value that switches off.
fn find() -> Option<(usize, u8)> {
    let tree = crate::firmware::device_tree()?;
    let (base, _) = tree.device("syscon")?;
    let offset = tree.device_u32("syscon-poweroff", "offset")?;
    let value = tree.device_u32("syscon-poweroff", "value")?;
    Some((base.checked_add(offset as usize)?, value as u8))
}

/// Powers off the machine.
pub fn off() -> ! {
    let register = SWITCH.load(Relaxed);
    if register != 0 {
        // SAFETY: the device tree says that this address has a one-byte register that powers
        // off with this value. Both page tables map it.
        unsafe { (register as *mut u8).write_volatile(OFF_VALUE.load(Relaxed)) };
    }
    park()
}

/// Puts the calling hart to sleep forever.
pub fn park() -> ! {
    loop {
        // SAFETY: waiting for an interrupt has no other effect.
        unsafe { core::arch::asm!("idle 0", options(nomem, nostack)) };
    }
}

struct Power;

#[axplat::impl_interface]
impl PowerIf for Power {
    #[cfg(feature = "smp")]
    fn cpu_boot(cpu_id: usize, stack_top_paddr: usize) {
        crate::secondary::start(cpu_id, stack_top_paddr);
    }

    fn system_off() -> ! {
        off()
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}
