//! The switch between threads: it saves what a call preserves (RISC-V ABIs Specification,
//! "Register Convention"), `ra`, `s0` to `s11`, and the stack. `gp` is the hart's.
//!
//! The target has floating-point registers, and an application may use them anywhere, so an
//! interrupt can come between two uses. A thread's registers are saved if it has changed one
//! since it was switched to (`sstatus.FS`, RISC-V Privileged Architecture, "Extension Context
//! Status in mstatus Register"). They are restored if it ever has.

use core::arch::naked_asm;

use super::float_registers::{FloatRegisters, float_status, reset_rounding, set_float_status};
use super::frame::{FS_CLEAN, FS_DIRTY, FS_INITIAL};

/// The words on the stack of a thread that does not run: thirteen registers, and one word
/// that keeps the stack aligned.
pub const SAVED_WORDS: usize = 14;
/// The index of the word that says where the thread continues: `ra`.
pub const RETURN_WORD: usize = 0;

/// The state of registers that a switch has restored. "Clean" makes the next switch cheaper. Where
/// there are user programs, it says that the registers are those of a user program
/// ([`UserRegisters`](super::UserRegisters)).
const RESTORED: usize = if cfg!(feature = "uspace") {
    FS_DIRTY
} else {
    FS_CLEAN
};

/// A thread's floating-point registers, while it does not run.
#[derive(Debug)]
pub struct Float {
    registers: FloatRegisters,
    /// Whether the thread has ever changed a register.
    in_use: bool,
}

impl Float {
    /// The registers of a thread that has not used any.
    pub const UNUSED: Self = Self {
        registers: FloatRegisters::ZERO,
        in_use: false,
    };

    /// Saves the registers of the running thread, whose `Float` this is, if it has changed
    /// any.
    ///
    /// # Safety
    ///
    /// Interrupts are off, and the hart switches away from the thread.
    pub unsafe fn save(&mut self) {
        if float_status() == FS_DIRTY {
            // SAFETY: `FS_DIRTY` means that the unit is on.
            unsafe { self.registers.store() };
            self.in_use = true;
        }
    }

    /// Restores the registers of the thread whose `Float` this is. A thread that has never
    /// used any may find any values in them.
    ///
    /// # Safety
    ///
    /// Interrupts are off, and that thread is the next to run. The registers of the running
    /// thread are lost.
    pub unsafe fn restore(&self) {
        if !self.in_use {
            reset_rounding();
            return set_float_status(FS_INITIAL);
        }
        // SAFETY: the caller gives up the registers' values, and the platform has switched the
        // unit on.
        unsafe { self.registers.load() };
        set_float_status(RESTORED);
    }
}

/// Switches stacks: stores the current stack pointer to `from`, and continues where an
/// earlier switch has stored `to`.
///
/// # Safety
///
/// See [`Context::switch`](crate::context::Context::switch).
#[unsafe(naked)]
pub unsafe extern "C" fn switch_stacks(from: *mut usize, to: usize) {
    naked_asm!(
        "addi    sp, sp, -112",
        "sd      ra, 0(sp)",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "sd      s\\n, (\\n + 1) * 8(sp)",
        ".endr",
        "sd      sp, 0(a0)",
        "mv      sp, a1",
        "ld      ra, 0(sp)",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "ld      s\\n, (\\n + 1) * 8(sp)",
        ".endr",
        "addi    sp, sp, 112",
        "ret",
    )
}
