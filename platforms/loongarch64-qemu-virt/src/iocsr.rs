//! Each hart's registers for interrupts between harts.

use axmachine::HartId;

/// Bits of interrupts that other harts have sent.
const STATUS: usize = 0x1000;
/// Which of them interrupt.
const ENABLE: usize = 0x1004;
/// Writing ones forgets them.
const CLEAR: usize = 0x100c;
const SEND_INTERRUPT: usize = 0x1040;

/// The sender waits until what it sends has arrived.
pub const BLOCKING: u64 = 1 << 31;

/// Lets other harts' interrupts through to this hart.
pub fn enable_interrupts() {
    write_word(ENABLE, u32::MAX);
}

/// Forgets the interrupts that other harts have sent so far.
pub fn clear_interrupts() {
    let status: u32;
    // SAFETY: reading the register changes nothing.
    unsafe {
        core::arch::asm!("iocsrrd.w {}, {}", out(reg) status, in(reg) STATUS, options(nostack))
    };
    write_word(CLEAR, status);
}

/// Interrupts `hart`. It sees what was written before.
pub fn send_interrupt(hart: HartId) {
    // SAFETY: a barrier changes nothing.
    unsafe { core::arch::asm!("dbar 0", options(nostack)) };
    write_word(SEND_INTERRUPT, BLOCKING as u32 | (hart as u32) << 16);
}

fn write_word(register: usize, value: u32) {
    // SAFETY: the registers above only concern interrupts between harts, which
    // the kernel is ready for before it enables them.
    unsafe {
        core::arch::asm!("iocsrwr.w {}, {}", in(reg) value, in(reg) register, options(nostack))
    };
}
