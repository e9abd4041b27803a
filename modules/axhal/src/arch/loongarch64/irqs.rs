//! This hart's interrupts as a whole.

use core::arch::{asm, global_asm};

use kernel_guard::BaseGuard;

use super::csr::{self, CRMD};

/// The timer ("Exception Status", `IS`).
pub const TIMER_IRQ: usize = 11;
/// Another hart's call.
pub const IPI_IRQ: usize = 12;

/// `CRMD.IE`: interrupts as a whole.
const IE: usize = 1 << 2;

/// Lets interrupts in.
pub fn enable_irqs() {
    // SAFETY: the trap vector is set before anything enables interrupts.
    unsafe { csr::write_bits::<CRMD>(IE, IE) };
}

/// Keeps interrupts out.
pub fn disable_irqs() {
    // SAFETY: keeping interrupts out breaks nothing.
    unsafe { csr::write_bits::<CRMD>(IE, 0) };
}

/// Whether interrupts are let in.
pub fn irqs_enabled() -> bool {
    csr::read::<CRMD>() & IE != 0
}

/// Keeps interrupts out as long as it lives.
///
/// `kernel_guard` 0.2 has one too, but leaves it to the compiler in which register
/// the mask of `csrxchg` is, which may not be `$ra`, and does not tell it that the
/// other register changes.
#[derive(Debug)]
pub struct IrqsOff(usize);

impl IrqsOff {
    /// Keeps interrupts out from now on.
    #[inline]
    pub fn new() -> Self {
        Self(<Self as BaseGuard>::acquire())
    }
}

impl Default for IrqsOff {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for IrqsOff {
    #[inline]
    fn drop(&mut self) {
        <Self as BaseGuard>::release(self.0);
    }
}

impl BaseGuard for IrqsOff {
    type State = usize;

    #[inline]
    fn acquire() -> usize {
        // SAFETY: keeping interrupts out breaks nothing.
        unsafe { csr::exchange::<CRMD>(IE, 0) }
    }

    #[inline]
    fn release(before: usize) {
        // SAFETY: they were like this when the guard came.
        unsafe { csr::write_bits::<CRMD>(IE, before) };
    }
}

global_asm!(
    "
    .section .text.idle, \"ax\"
    .global wait_for_irqs, idle_instruction
wait_for_irqs:
    ori     $t0, $zero, {ie}
    csrxchg $t0, $t0, {crmd}
idle_instruction:
    idle    0
    ori     $t0, $zero, {ie}
    csrxchg $zero, $t0, {crmd}
    ret
    ",
    ie = const IE,
    crmd = const CRMD,
);

unsafe extern "C" {
    /// Sleeps until an interrupt is pending, and lets it in. Called and returns
    /// with interrupts off.
    ///
    /// `idle` wakes only for interrupts that are let in, so they are before it. One
    /// that comes right then would be over before the sleep begins: the trap
    /// handler goes on behind the instruction (`past_idle`).
    pub safe fn wait_for_irqs();

    safe static idle_instruction: u32;
}

/// Where to go on after an interrupt at `pc`.
pub fn past_idle(pc: usize) -> usize {
    if pc == &raw const idle_instruction as usize {
        return pc + size_of::<u32>();
    }
    pc
}

/// Sleeps for ever, deaf.
pub fn halt() -> ! {
    disable_irqs();
    loop {
        // SAFETY: waiting changes nothing.
        unsafe { asm!("idle 0", options(nomem, nostack)) };
    }
}
