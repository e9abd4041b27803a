//! Starting harts and powering off.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axplat::power::PowerIf;

use axmachine::phys_to_virt;

/// The virtual address of the test finisher's register; 0 without one. Kept from boot, so
/// that powering off needs nothing but this.
static FINISHER: AtomicUsize = AtomicUsize::new(0);

/// Finds the test finisher in the device tree. Until then the machine powers off by SBI.
pub fn init() {
    let tree = crate::machine::device_tree();
    if let Some((base, _)) = tree.and_then(|tree| tree.device("sifive,test0")) {
        FINISHER.store(phys_to_virt(base), Relaxed);
    }
}

/// Powers off with `status`: by the test finisher, which hands the status on to
/// whatever started the machine, or else by SBI's system reset.
pub fn exit(status: u8) -> ! {
    /// The commands of SiFive's test finisher.
    const PASS: u32 = 0x5555;
    const FAIL: u32 = 0x3333;

    // Each way is tried once: a failure in the first comes back here for the second. SBI
    // does not follow the finisher, for it could overtake that, and lose the status.
    match FINISHER.swap(0, Relaxed) {
        0 => drop(sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::NoReason)),
        register => {
            let command = match status {
                0 => PASS,
                status => u32::from(status) << 16 | FAIL,
            };
            // SAFETY: the device tree said that a test finisher is there; its one
            // register takes a 32-bit command, and both page tables map it.
            unsafe { (register as *mut u32).write_volatile(command) };
        }
    }
    park()
}

/// Sleeps for ever.
pub fn park() -> ! {
    loop {
        // SAFETY: waiting for an interrupt changes nothing.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack)) };
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
        if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
            // A hart the firmware refuses to start is one that does not answer.
            let _ = sbi_rt::hart_start(hart, entry, stack_top_paddr);
        }
    }

    fn system_off() -> ! {
        exit(0)
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}
