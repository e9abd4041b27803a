//! Starts harts and powers off, by PSCI (Arm Power State Coordination Interface, DEN0022).

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use aarch64_cpu::asm::wfi;
use axplat::power::PowerIf;
use smccc::{Hvc, Smc, psci};

/// The instruction that calls the firmware: `hvc` for a hypervisor, `smc` for exception
/// level 3.
const HVC: u8 = 1;
const SMC: u8 = 2;

/// [`HVC`] or [`SMC`]; 0 on a machine without PSCI. It is stored at boot, so that powering off
/// does not depend on the device tree.
///
/// Relaxed in all accesses: `init` stores it before the first hart starts another.
static CONDUIT: AtomicU8 = AtomicU8::new(0);

/// Reads from the device tree which instruction calls the firmware.
pub fn init() {
    let tree = crate::firmware::device_tree();
    let conduit = match tree.and_then(|tree| tree.string("/psci", "method")) {
        Some(b"hvc") => HVC,
        Some(b"smc") => SMC,
        _ => 0,
    };
    CONDUIT.store(conduit, Relaxed);
}

/// Powers off the machine.
pub fn off() -> ! {
    // The call returns only if the firmware refuses.
    let _ = match CONDUIT.load(Relaxed) {
        HVC => psci::system_off::<Hvc>(),
        SMC => psci::system_off::<Smc>(),
        _ => Ok(()),
    };
    park()
}

/// Puts the calling hart to sleep forever.
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
        // If the firmware refuses, the caller's wait for the hart times out.
        let _ = match CONDUIT.load(Relaxed) {
            HVC => psci::cpu_on::<Hvc>(hart, entry, stack),
            SMC => psci::cpu_on::<Smc>(hart, entry, stack),
            _ => Ok(()),
        };
    }

    fn system_off() -> ! {
        off()
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}
