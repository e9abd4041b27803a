//! Starting harts and powering off.

use axplat::power::PowerIf;

use axmachine::phys_to_virt;

/// Powers off with `status`: by the test finisher, which hands the status on to
/// who started the machine, or else by SBI's system reset.
pub fn exit(status: u8) -> ! {
    /// The commands of SiFive's test finisher.
    const PASS: u32 = 0x5555;
    const FAIL: u32 = 0x3333;

    let tree = crate::machine::device_tree();
    if let Some((base, _)) = tree.and_then(|tree| tree.device("sifive,test0")) {
        let command = match status {
            0 => PASS,
            status => u32::from(status) << 16 | FAIL,
        };
        // SAFETY: the device tree says that a test finisher is there; its one
        // register takes a 32-bit command, and both page tables map it.
        unsafe { (phys_to_virt(base) as *mut u32).write_volatile(command) };
        // Nothing more: a second way of powering off would overtake the first,
        // and its status.
    } else {
        sbi_rt::system_reset(sbi_rt::Shutdown, sbi_rt::NoReason);
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
