//! This hart's interrupts as a whole.

use core::arch::{asm, global_asm};

use kernel_guard::BaseGuard;

use super::csr::{self, CRMD};

/// The interrupt of this hart's timer ("Exception Status", `IS`).
pub const TIMER_IRQ: usize = 11;
/// The interrupt that another hart sends.
pub const IPI_IRQ: usize = 12;

/// `CRMD.IE`: interrupts as a whole.
const IE: usize = 1 << 2;

/// Turns interrupts on.
pub fn enable_irqs() {
    // SAFETY: the trap vector is set before any code turns interrupts on.
    unsafe { csr::write_bits::<CRMD>(IE, IE) };
}

/// Turns interrupts off.
pub fn disable_irqs() {
    // SAFETY: turning interrupts off affects no memory.
    unsafe { csr::write_bits::<CRMD>(IE, 0) };
}

/// Returns whether interrupts are on.
pub fn irqs_enabled() -> bool {
    csr::read::<CRMD>() & IE != 0
}

/// A guard that keeps interrupts off while it exists.
///
/// The guard of `kernel_guard` 0.2 is not used. It lets the compiler choose the register of
/// `csrxchg`'s mask, which must not be `$ra`. And it does not tell the compiler that the
/// other register changes.
#[derive(Debug)]
pub struct IrqsOff(usize);

impl IrqsOff {
    /// Turns interrupts off until the guard is dropped.
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
        // SAFETY: turning interrupts off affects no memory.
        unsafe { csr::exchange::<CRMD>(IE, 0) }
    }

    #[inline]
    fn release(before: usize) {
        // SAFETY: interrupts were on or off like this when the guard was created.
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
    /// Sleeps until an interrupt is pending, and takes it. Called and returns with interrupts
    /// off.
    ///
    /// `idle` wakes only if interrupts are on, so they are turned on before it. An interrupt
    /// may come between the two, and the hart would then sleep after it. So the trap handler
    /// continues behind the `idle` instruction (`past_idle`).
    pub safe fn wait_for_irqs();

    safe static idle_instruction: u32;
}

/// Returns where to continue after an interrupt at `pc`: behind `idle`, if it came there.
pub(crate) fn past_idle(pc: usize) -> usize {
    if pc == &raw const idle_instruction as usize {
        return pc + size_of::<u32>();
    }
    pc
}

/// Sleeps for ever, with interrupts off.
pub fn halt() -> ! {
    disable_irqs();
    loop {
        // SAFETY: waiting has no effect.
        unsafe { asm!("idle 0", options(nomem, nostack)) };
    }
}
