//! What one thread leaves to the next (RISC-V ABIs Specification, "Register
//! Convention"): `ra`, `s0` to `s11`, and the stack. `gp` is the hart's.
//!
//! The target has floating-point registers, and an application may use them anywhere,
//! so an interrupt can come between two uses. A thread's are saved if it has changed
//! any since it came (`sstatus.FS`, RISC-V Privileged Architecture, "Extension Context
//! Status in mstatus Register"), and put back if it ever has.

use core::arch::{asm, naked_asm};

/// Words on the stack of a thread that does not run: thirteen registers, and one that
/// keeps the stack aligned.
pub const SAVED: usize = 14;
/// Which of them says where to go on: `ra`.
pub const RETURN: usize = 0;

/// `sstatus.FS`, and its values.
const FS: usize = 3 << 13;
const OFF: usize = 0;
const INITIAL: usize = 1 << 13;
const CLEAN: usize = 2 << 13;
const DIRTY: usize = 3 << 13;

/// A thread's floating-point registers, while it does not run.
#[repr(C)]
#[derive(Debug)]
pub struct Float {
    registers: [u64; 32],
    fcsr: usize,
    /// Whether the thread has ever changed one.
    in_use: bool,
}

impl Float {
    /// Those of a thread that has not used any.
    pub const UNUSED: Self = Self {
        registers: [0; 32],
        fcsr: 0,
        in_use: false,
    };

    /// Keeps what the running thread, whose this is, has changed.
    ///
    /// # Safety
    ///
    /// Interrupts are out, and the thread goes.
    pub unsafe fn save(&mut self) {
        if status() == DIRTY {
            // SAFETY: there is room for all registers, and the unit is on.
            unsafe { store(self) };
            self.in_use = true;
        }
    }

    /// Gives the registers to the thread whose this is. One that has never used any
    /// may find anything in them.
    ///
    /// # Safety
    ///
    /// Interrupts are out, and that thread is the next to run: what the running one has in
    /// the registers is lost.
    pub unsafe fn restore(&self) {
        if status() == OFF {
            return;
        }
        if !self.in_use {
            return set_status(INITIAL);
        }
        // SAFETY: the registers are nobody's now, and the unit is on.
        unsafe { load(self) };
        set_status(CLEAN);
    }
}

fn status() -> usize {
    let sstatus: usize;
    // SAFETY: reading the register changes nothing.
    unsafe { asm!("csrr {}, sstatus", out(reg) sstatus, options(nomem, nostack)) };
    sstatus & FS
}

fn set_status(status: usize) {
    // SAFETY: the unit stays on; what it says of the registers is so.
    unsafe {
        asm!("csrc sstatus, {}", in(reg) FS, options(nomem, nostack));
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

/// Leaves one stack, whose end goes to `from`, for the one that was left at `to`.
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
