//! The switch between threads: it saves what a call preserves (RISC-V ABIs Specification,
//! "Register Convention"), `ra`, `s0` to `s11`, and the stack. `gp` is the hart's.
//!
//! The target has floating-point registers, and an application may use them anywhere, so an
//! interrupt can come between two uses. A thread's registers are saved if it has changed one
//! since it was switched to (`sstatus.FS`, RISC-V Privileged Architecture, "Extension Context
//! Status in mstatus Register"). They are restored if it ever has.

use core::arch::{asm, naked_asm};

use super::frame::{FS_CLEAN, FS_DIRTY, FS_INITIAL, SSTATUS_FS};

/// The words on the stack of a thread that does not run: thirteen registers, and one word
/// that keeps the stack aligned.
pub const SAVED_WORDS: usize = 14;
/// The index of the word that says where the thread continues: `ra`.
pub const RETURN_WORD: usize = 0;

/// A thread's floating-point registers, while it does not run.
#[repr(C)]
#[derive(Debug)]
pub struct Float {
    registers: [u64; 32],
    fcsr: usize,
    /// Whether the thread has ever changed a register.
    in_use: bool,
}

impl Float {
    /// The registers of a thread that has not used any.
    pub const UNUSED: Self = Self {
        registers: [0; 32],
        fcsr: 0,
        in_use: false,
    };

    /// Saves the registers of the running thread, whose `Float` this is, if it has changed
    /// any.
    ///
    /// # Safety
    ///
    /// Interrupts are off, and the hart switches away from the thread.
    pub unsafe fn save(&mut self) {
        if status() == FS_DIRTY {
            // SAFETY: `self` has a place for each register, and `FS_DIRTY` means that the unit
            // is on.
            unsafe { store(self) };
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
            return set_status(FS_INITIAL);
        }
        // SAFETY: the caller gives up the registers' values, and the platform has switched the
        // unit on.
        unsafe { load(self) };
        set_status(FS_CLEAN);
    }
}

fn status() -> usize {
    let sstatus: usize;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("csrr {}, sstatus", out(reg) sstatus, options(nomem, nostack)) };
    sstatus & SSTATUS_FS
}

fn set_status(status: usize) {
    // SAFETY: no caller uses a register between the two writes, callers pass a state in which
    // the unit is on, and the state says how the registers relate to the saved ones.
    unsafe {
        asm!("csrc sstatus, {}", in(reg) SSTATUS_FS, options(nomem, nostack));
        asm!("csrs sstatus, {}", in(reg) status, options(nomem, nostack));
    }
}

#[unsafe(naked)]
unsafe extern "C" fn store(float: *mut Float) {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "fsd     f\\n, \\n * 8(a0)",
        ".endr",
        "csrr    t0, fcsr",
        "sd      t0, 32 * 8(a0)",
        "ret",
        ".option pop",
    )
}

#[unsafe(naked)]
unsafe extern "C" fn load(float: *const Float) {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "fld     f\\n, \\n * 8(a0)",
        ".endr",
        "ld      t0, 32 * 8(a0)",
        "csrw    fcsr, t0",
        "ret",
        ".option pop",
    )
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
