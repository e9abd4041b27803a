//! A hart's own interrupt controller, the local APIC (SDM 11, "Advanced
//! Programmable Interrupt Controller"): in xAPIC mode, where the registers are
//! memory, or in x2APIC mode, where they are MSRs, if the firmware has chosen
//! that or a hart's id is too large for the other. Not for its speed: QEMU with
//! `-icount` gives up on a timer register that is read as an MSR.
//!
//! Own code, since the crate `x2apic` always takes x2APIC mode where it is to be
//! had, and cannot set a TSC deadline.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axmachine::HartId;
use kernel_guard::IrqSave;
pub use x86::apic::xapic::{
    XAPIC_EOI as EOI, XAPIC_LVT_TIMER as LVT_TIMER, XAPIC_TIMER_CURRENT_COUNT as TIMER_COUNT,
    XAPIC_TIMER_DIV_CONF as TIMER_DIVIDE, XAPIC_TIMER_INIT_COUNT as TIMER_START,
};
use x86::apic::xapic::{XAPIC_ICR0, XAPIC_ICR1, XAPIC_LVT_LINT0, XAPIC_SVR};
use x86::msr::{IA32_APIC_BASE, rdmsr, wrmsr};

/// A local vector table entry's mask.
pub const MASKED: u32 = 1 << 16;

/// `IA32_APIC_BASE`: x2APIC mode, and the APIC as a whole.
const EXTENDED: u64 = 1 << 10;
const ENABLED: u64 = 1 << 11;
/// `IA32_APIC_BASE`: the physical address of the registers.
const BASE: u64 = 0x000f_ffff_ffff_f000;

/// Ids have 8 bits in xAPIC mode, and the last means every hart.
const LARGEST_XAPIC_ID: HartId = 254;

/// Spurious-interrupt vector register: let interrupts through.
const SOFTWARE_ENABLE: u32 = 1 << 8;

/// Interrupt command register: the level to assert, as all but one command do.
pub const ASSERT: u32 = 1 << 14;
/// Interrupt command register, low word: the command is on its way.
const PENDING: u32 = 1 << 12;

/// The first of x2APIC mode's MSRs; register 0x10 is the second, and so on.
const X2APIC_MSR: u32 = 0x800;

/// Where the registers are mapped in xAPIC mode; 0 in x2APIC mode.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// Chooses the mode for all harts. The first hart does it, first of all.
pub fn choose_mode() {
    // SAFETY: every x86-64 CPU has an APIC.
    let base = unsafe { rdmsr(IA32_APIC_BASE) };
    let ids = axmachine::inventory().harts();
    if base & EXTENDED == 0 && ids.iter().all(|&id| id <= LARGEST_XAPIC_ID) {
        let registers = axmachine::phys_to_virt((base & BASE) as usize);
        REGISTERS.store(registers, Relaxed);
    }
}

/// Switches this hart's APIC on; `spurious` is the vector of interrupts that
/// turn out to be none.
pub fn init_hart(spurious: u32) {
    let mode = match REGISTERS.load(Relaxed) {
        0 => EXTENDED,
        _ => 0,
    };
    // SAFETY: the mode is the one the hart is in, or one that every hart of a
    // machine with such ids has; interrupts are off meanwhile.
    unsafe { wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | ENABLED | mode) };
    // The PC's old interrupt controllers come through this pin.
    write(XAPIC_LVT_LINT0, MASKED);
    write(XAPIC_SVR, SOFTWARE_ENABLE | spurious);
}

/// Reads a register of this hart's APIC.
pub fn read(register: u32) -> u32 {
    match REGISTERS.load(Relaxed) {
        // SAFETY: in x2APIC mode the register is this MSR.
        0 => unsafe { rdmsr(X2APIC_MSR + (register >> 4)) as u32 },
        // SAFETY: in xAPIC mode the registers are here; both page tables map
        // what the MADT names, uncached by type or by the firmware's MTRRs.
        base => unsafe { ((base + register as usize) as *const u32).read_volatile() },
    }
}

/// Writes a register of this hart's APIC.
pub fn write(register: u32, value: u32) {
    match REGISTERS.load(Relaxed) {
        // SAFETY: as in `read`; what is written concerns interrupts that
        // `irq` knows.
        0 => unsafe { wrmsr(X2APIC_MSR + (register >> 4), value.into()) },
        // SAFETY: likewise.
        base => unsafe { ((base + register as usize) as *mut u32).write_volatile(value) },
    }
}

/// Sends `command`, the low word of the interrupt command register, to a hart.
pub fn send(hart: HartId, command: u32) {
    if REGISTERS.load(Relaxed) == 0 {
        // Writing an MSR does not wait for the stores before it (SDM 11.12.3).
        x86::fence::mfence();
        x86::fence::lfence();
        let value = (hart as u64) << 32 | u64::from(command);
        // SAFETY: in x2APIC mode the register is one MSR of 64 bits.
        return unsafe { wrmsr(X2APIC_MSR + (XAPIC_ICR0 >> 4), value) };
    }
    // An interrupt between the two writes could send a command of its own.
    let _guard = IrqSave::new();
    while read(XAPIC_ICR0) & PENDING != 0 {
        core::hint::spin_loop();
    }
    write(XAPIC_ICR1, (hart as u32) << 24);
    write(XAPIC_ICR0, command);
}
