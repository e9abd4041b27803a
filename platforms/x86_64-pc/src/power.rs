//! Starting harts and powering off.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use axplat::power::PowerIf;
use x86::io::{outb, outw};

/// QEMU's `isa-debug-exit`, where it is given that port: QEMU ends with status
/// `2 * value + 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// PM1 Control Registers, SLP_EN (ACPI 4.8.3.2.1): enter the sleep state.
const SLEEP_ENABLE: u16 = 1 << 13;

/// The I/O port that powers off, and above it what to write there; 0 without one. Kept
/// from boot, so that powering off needs nothing but this.
static SOFT_OFF: AtomicU32 = AtomicU32::new(0);

/// Finds the power switch in the ACPI tables.
pub fn init() {
    if let Some((port, command)) = soft_off() {
        SOFT_OFF.store(u32::from(port) | u32::from(command) << 16, Relaxed);
    }
}

/// Powers off with `status`. One that is not 0 is told by [`DEBUG_EXIT`], its
/// lowest seven bits; where there is no such device, or for 0, the machine
/// enters ACPI's sleep state S5.
pub fn exit(status: u8) -> ! {
    if status != 0 {
        // SAFETY: on a PC the port is this device's, or nobody's.
        unsafe { outb(DEBUG_EXIT, status & 0x7f) };
    }
    let switch = SOFT_OFF.load(Relaxed);
    if switch != 0 {
        // SAFETY: the tables said that this is how the machine is switched off.
        unsafe { outw(switch as u16, (switch >> 16) as u16) };
    }
    park()
}

/// The I/O port of the register that powers off, and what to write to it.
fn soft_off() -> Option<(u16, u16)> {
    let tables = crate::machine::acpi()?;
    let port = tables.fadt()?.u32(64).filter(|&port| port != 0)?;
    let state = tables.dsdt().and_then(|dsdt| soft_off_type(dsdt.bytes()));
    Some((
        port as u16,
        SLEEP_ENABLE | u16::from(state.unwrap_or(0)) << 10,
    ))
}

/// The first element of the package `\_S5` (ACPI 7.4.2.6): the value of the
/// register's field SLP_TYP. `aml` is a program; a package of constants has but
/// one encoding, so that it can be found without running it (ACPI 20.2).
fn soft_off_type(aml: &[u8]) -> Option<u8> {
    const PACKAGE: u8 = 0x12;
    const BYTE: u8 = 0x0a;
    let name = aml.windows(5).position(|window| window == b"_S5_\x12")?;
    let package = &aml[name + 4..];
    // The package's length takes one byte, and as many more as its upper two
    // bits say; then comes the number of elements.
    let &[PACKAGE, length, ..] = package else {
        return None;
    };
    match package.get(3 + usize::from(length >> 6)..)? {
        [BYTE, value, ..] | [value @ (0 | 1), ..] => Some(value & 7),
        _ => None,
    }
}

/// Sleeps for ever.
pub fn park() -> ! {
    loop {
        // SAFETY: keeping interrupts out and waiting break nothing.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

struct Power;

#[axplat::impl_interface]
impl PowerIf for Power {
    #[cfg(feature = "smp")]
    fn cpu_boot(cpu_id: usize, stack_top_paddr: usize) {
        crate::secondary::start(cpu_id, axmachine::phys_to_virt(stack_top_paddr));
    }

    fn system_off() -> ! {
        exit(0)
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}
