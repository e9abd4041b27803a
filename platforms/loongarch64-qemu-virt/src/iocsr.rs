//! A hart's registers for interrupts between harts.

use axmachine::HartId;

/// The pending interrupts, one bit for each.
const STATUS: usize = 0x1000;
/// The enabled interrupts, one bit for each.
const ENABLE: usize = 0x1004;
/// A 1 bit clears a pending interrupt.
const CLEAR: usize = 0x100c;
const SEND_INTERRUPT: usize = 0x1040;

/// A bit of a request: the sender waits until the request has arrived.
pub const BLOCKING: u64 = 1 << 31;

/// Enables interrupts from other harts on this hart.
pub fn enable_interrupts() {
    write_word(ENABLE, u32::MAX);
}

/// Clears the pending interrupts from other harts.
pub fn clear_interrupts() {
    let status: u32;
    // SAFETY: reading the register has no effect.
    unsafe {
        core::arch::asm!("iocsrrd.w {}, {}", out(reg) status, in(reg) STATUS, options(nostack))
    };
    write_word(CLEAR, status);
}

/// Interrupts `hart`. Its handler sees all earlier writes of this hart.
pub fn send_interrupt(hart: HartId) {
    // SAFETY: a barrier only orders memory accesses.
    unsafe { core::arch::asm!("dbar 0", options(nostack)) };
    write_word(SEND_INTERRUPT, BLOCKING as u32 | (hart as u32) << 16);
}

fn write_word(register: usize, value: u32) {
    // SAFETY: the registers above concern only interrupts between harts. The kernel has a
    // handler for those before it enables them.
    unsafe {
        core::arch::asm!("iocsrwr.w {}, {}", in(reg) value, in(reg) register, options(nostack))
    };
}
