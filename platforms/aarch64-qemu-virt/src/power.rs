//! Starting harts and powering off, by PSCI (Arm Power State Coordination
//! Interface, DEN0022).

use aarch64_cpu::asm::wfi;
use axplat::power::PowerIf;
use smccc::{Hvc, Smc, psci};

/// How the firmware is called.
enum Conduit {
    /// It is a hypervisor.
    Hvc,
    /// It is at exception level 3.
    Smc,
}

/// Read from the device tree; `None` where there is no such firmware.
fn conduit() -> Option<Conduit> {
    match crate::machine::device_tree()?.string("/psci", "method")? {
        b"hvc" => Some(Conduit::Hvc),
        b"smc" => Some(Conduit::Smc),
        _ => None,
    }
}

/// Powers off.
pub fn off() -> ! {
    // It returns only if the firmware refuses.
    let _ = match conduit() {
        Some(Conduit::Hvc) => psci::system_off::<Hvc>(),
        Some(Conduit::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
    park()
}

/// Sleeps for ever.
pub fn park() -> ! {
    loop {
        wfi();
    }
}

struct Power;

#[axplat::impl_interface]
impl PowerIf for Power {
    #[cfg(feature = "smp")]
    fn cpu_boot(cpu_id: usize, stack_top_paddr: usize) {
        unsafe extern "C" {
            fn _start_secondary();
        }
        let entry = _start_secondary as *const () as usize - axconfig::PHYS_VIRT_OFFSET;
        let Some(&hart) = axmachine::inventory().harts().get(cpu_id) else {
            return;
        };
        let (hart, entry, stack) = (hart as u64, entry as u64, stack_top_paddr as u64);
        // A hart the firmware refuses to start is one that does not answer.
        let _ = match conduit() {
            Some(Conduit::Hvc) => psci::cpu_on::<Hvc>(hart, entry, stack),
            Some(Conduit::Smc) => psci::cpu_on::<Smc>(hart, entry, stack),
            None => Ok(()),
        };
    }

    fn system_off() -> ! {
        off()
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}
