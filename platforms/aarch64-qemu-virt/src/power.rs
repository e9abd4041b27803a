//! Starting harts and powering off, by PSCI (Arm Power State Coordination
//! Interface, DEN0022).

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use aarch64_cpu::asm::wfi;
use axplat::power::PowerIf;
use smccc::{Hvc, Smc, psci};

/// How the firmware is called: it is a hypervisor, or at exception level 3.
const HVC: u8 = 1;
const SMC: u8 = 2;

/// One of these; 0 where there is no such firmware. Kept from boot, so that powering off
/// needs nothing but this.
static CONDUIT: AtomicU8 = AtomicU8::new(0);

/// Reads from the device tree how the firmware is called.
pub fn init() {
    let tree = crate::machine::device_tree();
    let conduit = match tree.and_then(|tree| tree.string("/psci", "method")) {
        Some(b"hvc") => HVC,
        Some(b"smc") => SMC,
        _ => 0,
    };
    CONDUIT.store(conduit, Relaxed);
}

/// Powers off.
pub fn off() -> ! {
    // It returns only if the firmware refuses.
    let _ = match CONDUIT.load(Relaxed) {
        HVC => psci::system_off::<Hvc>(),
        SMC => psci::system_off::<Smc>(),
        _ => Ok(()),
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
