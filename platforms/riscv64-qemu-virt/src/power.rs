//! Starts harts and powers off.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axplat::power::PowerIf;

use axmachine::phys_to_virt;

/// The virtual address of the test finisher's register; 0 without a test finisher. It is
/// stored at boot, so that powering off does not depend on the device tree.
static FINISHER: AtomicUsize = AtomicUsize::new(0);

/// Finds the test finisher in the device tree. Before that the machine powers off by SBI.
pub fn init() {
    let tree = crate::firmware::device_tree();
    if let Some((base, _)) = tree.and_then(|tree| tree.device("sifive,test0")) {
        // Relaxed: `exit` reads it on this hart, or on harts that this hart starts later.
        FINISHER.store(phys_to_virt(base), Relaxed);
    }
}

/// Powers off with an exit status. The test finisher passes the status to the process that
/// started the machine. Without a test finisher the machine powers off by SBI's system
/// reset.
pub fn exit(status: u8) -> ! {
    /// The commands of SiFive's test finisher.
    const PASS: u32 = 0x5555;
    const FAIL: u32 = 0x3333;

    // A fault at the finisher's register calls this again, and the swap makes that call use
    // SBI. SBI is not called right after the finisher's write: it could take effect first,
    // and the status would be lost.
    match FINISHER.swap(0, Relaxed) {
        0 => drop(sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::NoReason)),
        register => {
            let command = match status {
                0 => PASS,
                status => u32::from(status) << 16 | FAIL,
            };
            // SAFETY: the device tree says that a test finisher is at this address. Its one
            // register takes a 32-bit command, and both page tables map it.
            unsafe { (register as *mut u32).write_volatile(command) };
        }
    }
    park()
}

/// Puts the calling hart to sleep forever.
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
            // If the firmware refuses, the caller's wait for the hart times out.
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
