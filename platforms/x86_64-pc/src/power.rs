//! Starts harts and powers off.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use axplat::power::PowerIf;
use x86::io::{outb, outw};

/// The I/O port of QEMU's `isa-debug-exit`, if QEMU has this device. Writing a value ends QEMU
/// with status `2 * value + 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// SLP_EN of the PM1 Control Registers (ACPI 4.8.3.2.1): the machine enters a sleep state.
const SLEEP_ENABLE: u16 = 1 << 13;

/// The I/O port that powers off in bits 0 to 15, and the value to write there in bits 16 to
/// 31; 0 without such a port. It is stored at boot, so that powering off does not depend on
/// the ACPI tables.
///
/// Relaxed in all accesses: `init` stores it before the first hart starts another.
static SOFT_OFF: AtomicU32 = AtomicU32::new(0);

/// Finds the power switch in the ACPI tables.
pub fn init() {
    if let Some((port, command)) = soft_off() {
        SOFT_OFF.store(u32::from(port) | u32::from(command) << 16, Relaxed);
    }
}

/// Powers off with an exit status. The lowest seven bits of a status other than 0 go to
/// [`DEBUG_EXIT`]. For status 0, and on a machine without that device, the machine enters
/// ACPI's sleep state S5.
pub fn exit(status: u8) -> ! {
    if status != 0 {
        // SAFETY: on a PC the port belongs to this device or is unused.
        unsafe { outb(DEBUG_EXIT, status & 0x7f) };
    }
    let switch = SOFT_OFF.load(Relaxed);
    if switch != 0 {
        // SAFETY: by the ACPI tables this write powers the machine off.
        unsafe { outw(switch as u16, (switch >> 16) as u16) };
    }
    park()
}

/// Returns the I/O port of the register that powers off, and the value to write to it.
fn soft_off() -> Option<(u16, u16)> {
    let tables = crate::firmware::acpi()?;
    let port = tables.fadt()?.u32(64).filter(|&port| port != 0)?;
    let state = tables.dsdt().and_then(|dsdt| soft_off_type(dsdt.bytes()));
    Some((
        port as u16,
        SLEEP_ENABLE | u16::from(state.unwrap_or(0)) << 10,
    ))
}

/// Returns the first element of the package `\_S5` (ACPI 7.4.2.6), which is the value of the
/// register's field SLP_TYP.
///
/// `aml` is a program. It need not be run, because a package of constants has only one
/// encoding (ACPI 20.2).
fn soft_off_type(aml: &[u8]) -> Option<u8> {
    const PACKAGE: u8 = 0x12;
    const BYTE: u8 = 0x0a;
    let name = aml.windows(5).position(|window| window == b"_S5_\x12")?;
    let package = &aml[name + 4..];
    // The upper two bits of the first length byte are the number of further length bytes. The
    // number of elements follows.
    let &[PACKAGE, length, ..] = package else {
        return None;
    };
    match package.get(3 + usize::from(length >> 6)..)? {
        [BYTE, value, ..] | [value @ (0 | 1), ..] => Some(value & 7),
        _ => None,
    }
}

/// Puts the calling hart to sleep forever.
pub fn park() -> ! {
    loop {
        // SAFETY: switching interrupts off and halting have no other effect.
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
