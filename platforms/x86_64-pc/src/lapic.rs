//! The local APIC, the interrupt controller of each hart (SDM 11, "Advanced Programmable
//! Interrupt Controller").
//!
//! In xAPIC mode its registers are memory, and in x2APIC mode they are MSRs. The kernel uses
//! x2APIC mode only if firmware has switched to it, or if a hart's id is too large for xAPIC
//! mode. x2APIC mode would be faster, but QEMU with `-icount` aborts when a timer register is
//! read as an MSR.
//!
//! This is own code because the crate `x2apic` uses x2APIC mode on all machines that have it,
//! and cannot set a TSC deadline.

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

/// The mask bit of an entry of the local vector table.
pub const MASKED: u32 = 1 << 16;

/// Bits of `IA32_APIC_BASE`: x2APIC mode is on; the APIC is on.
const EXTENDED: u64 = 1 << 10;
const ENABLED: u64 = 1 << 11;
/// `IA32_APIC_BASE`: the physical address of the registers.
const BASE: u64 = 0x000f_ffff_ffff_f000;

/// The largest id in xAPIC mode. Ids have 8 bits there, and 255 addresses all harts.
const LARGEST_XAPIC_ID: HartId = 254;

/// Spurious-interrupt vector register: the APIC delivers interrupts.
const SOFTWARE_ENABLE: u32 = 1 << 8;

/// Interrupt command register: the level is "assert", as in all commands but one.
pub const ASSERT: u32 = 1 << 14;
/// Interrupt command register, low word: the command has not been delivered yet.
const PENDING: u32 = 1 << 12;

/// The first MSR of x2APIC mode. Each further MSR is a register 0x10 higher in xAPIC mode.
const X2APIC_MSR: u32 = 0x800;

/// The virtual address of the registers in xAPIC mode; 0 in x2APIC mode.
///
/// Relaxed in all accesses: the first hart stores it before it starts another.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// Chooses the mode for all harts. The first hart calls this before all other functions.
pub fn choose_mode() {
    // SAFETY: `check_features` has made sure that the CPU has an APIC, so it has this MSR.
    let base = unsafe { rdmsr(IA32_APIC_BASE) };
    let ids = axmachine::inventory().harts();
    if base & EXTENDED == 0 && ids.iter().all(|&id| id <= LARGEST_XAPIC_ID) {
        let registers = axmachine::phys_to_virt((base & BASE) as usize);
        REGISTERS.store(registers, Relaxed);
    }
}

/// Switches this hart's APIC on. `spurious` is the vector of spurious interrupts.
pub fn init_hart(spurious: u32) {
    let mode = match REGISTERS.load(Relaxed) {
        0 => EXTENDED,
        _ => 0,
    };
    // SAFETY: either the hart is in this mode, or the machine has ids that only x2APIC mode
    // can address, so it has that mode. Interrupts are off.
    unsafe { wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | ENABLED | mode) };
    // This pin is connected to the 8259 controllers.
    write(XAPIC_LVT_LINT0, MASKED);
    write(XAPIC_SVR, SOFTWARE_ENABLE | spurious);
}

/// Reads a register of this hart's APIC.
pub fn read(register: u32) -> u32 {
    match REGISTERS.load(Relaxed) {
        // SAFETY: in x2APIC mode this MSR is the register.
        0 => unsafe { rdmsr(X2APIC_MSR + (register >> 4)) as u32 },
        // SAFETY: in xAPIC mode the registers are at this address. The MADT lists them, so
        // both page tables map them. They are uncached by memory type or by firmware's MTRRs.
        base => unsafe { ((base + register as usize) as *const u32).read_volatile() },
    }
}

/// Writes a register of this hart's APIC.
pub fn write(register: u32, value: u32) {
    match REGISTERS.load(Relaxed) {
        // SAFETY: in x2APIC mode this MSR is the register. The value concerns only interrupts
        // that the module `irq` handles.
        0 => unsafe { wrmsr(X2APIC_MSR + (register >> 4), value.into()) },
        // SAFETY: in xAPIC mode the registers are at this address. The MADT lists them, so
        // both page tables map them. The value concerns only interrupts that the module `irq`
        // handles.
        base => unsafe { ((base + register as usize) as *mut u32).write_volatile(value) },
    }
}

/// Sends `command`, the low word of the interrupt command register, to a hart.
pub fn send(hart: HartId, command: u32) {
    if REGISTERS.load(Relaxed) == 0 {
        // A write to this MSR can overtake earlier stores (SDM 11.12.3).
        x86::fence::mfence();
        x86::fence::lfence();
        let value = (hart as u64) << 32 | u64::from(command);
        // SAFETY: in x2APIC mode this 64-bit MSR is the register.
        return unsafe { wrmsr(X2APIC_MSR + (XAPIC_ICR0 >> 4), value) };
    }
    // An interrupt handler between the two writes could send a command itself.
    let _guard = IrqSave::new();
    while read(XAPIC_ICR0) & PENDING != 0 {
        core::hint::spin_loop();
    }
    write(XAPIC_ICR1, (hart as u32) << 24);
    write(XAPIC_ICR0, command);
}
