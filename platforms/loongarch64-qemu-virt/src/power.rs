//! Powering off. The machine has no channel for a status but the console.

use axplat::power::PowerIf;

use axmachine::phys_to_virt;

/// Powers off.
pub fn off() -> ! {
    if let Some((register, value)) = switch() {
        // SAFETY: the device tree says that a register of one byte is there that
        // powers off by this value, and both page tables map it.
        unsafe { (phys_to_virt(register) as *mut u8).write_volatile(value) };
    }
    park()
}

/// The physical address of the power switch, and what to write there: the
/// device tree's `syscon-poweroff`, in the machine's one system controller.
fn switch() -> Option<(usize, u8)> {
    let tree = crate::machine::device_tree()?;
    let (base, _) = tree.device("syscon")?;
    let offset = tree.device_u32("syscon-poweroff", "offset")?;
    let value = tree.device_u32("syscon-poweroff", "value")?;
    Some((base + offset as usize, value as u8))
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
