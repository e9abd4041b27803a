//! All floating-point registers, and what `sstatus.FS` says about them (RISC-V Privileged
//! Architecture, "Extension Context Status in mstatus Register").

use core::arch::{asm, naked_asm};

use super::frame::SSTATUS_FS;

/// `f0` to `f31`, and `fcsr`.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct FloatRegisters {
    registers: [u64; 32],
    fcsr: usize,
}

impl FloatRegisters {
    /// Registers that are all 0.
    pub const ZERO: Self = Self {
        registers: [0; 32],
        fcsr: 0,
    };

    /// Stores the registers of this hart here.
    ///
    /// # Safety
    ///
    /// The floating-point unit is on.
    pub unsafe fn store(&mut self) {
        // SAFETY: the caller says that the unit is on. `self` has a place for each register.
        unsafe { store(self) };
    }

    /// Returns whether the rounding mode is another than that of code that never sets it.
    #[cfg(feature = "uspace")]
    pub fn rounds_specially(&self) -> bool {
        const FRM: usize = 7 << 5;
        self.fcsr & FRM != 0
    }

    /// Loads the registers of this hart from here.
    ///
    /// # Safety
    ///
    /// The floating-point unit is on. No code expects the registers to keep their values.
    pub unsafe fn load(&self) {
        // SAFETY: the caller says that the unit is on, and gives up the registers' values.
        unsafe { load_registers(self) };
    }
}

/// Returns `sstatus.FS`.
#[inline(always)]
pub fn float_status() -> usize {
    let sstatus: usize;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("csrr {}, sstatus", out(reg) sstatus, options(nomem, nostack)) };
    sstatus & SSTATUS_FS
}

/// Sets this hart's rounding mode to that of code that never sets it, and clears its exception flags.
pub fn reset_rounding() {
    // SAFETY: no code of the kernel sets the register, so all of it expects the value 0. The unit is
    // on.
    unsafe { asm!("csrw fcsr, zero", options(nomem, nostack)) };
}

/// Sets `sstatus.FS` to `status`, in which the unit is on.
pub fn set_float_status(status: usize) {
    // SAFETY: no caller uses a register between the two writes, callers pass a state in which
    // the unit is on, and the state says how the registers relate to the saved ones.
    unsafe {
        asm!("csrc sstatus, {}", in(reg) SSTATUS_FS, options(nomem, nostack));
        asm!("csrs sstatus, {}", in(reg) status, options(nomem, nostack));
    }
}

#[unsafe(naked)]
unsafe extern "C" fn store(to: *mut FloatRegisters) {
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

/// Loads the registers of this hart: see [`FloatRegisters::load`].
#[unsafe(naked)]
pub unsafe extern "C" fn load_registers(from: *const FloatRegisters) {
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
