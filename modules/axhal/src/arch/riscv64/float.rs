//! Floating-point registers of code that a trap interrupts.
//!
//! The target has floating-point registers, and the handler of an interrupt may use them, as may
//! whatever a long page fault calls. A call preserves twelve of them. The others are kept here.

use core::arch::naked_asm;
use core::mem::MaybeUninit;

use super::frame::TrapFrame;

/// The floating-point registers that a call may change: `ft0` to `ft11`, `fa0` to `fa7`, and
/// `fcsr`.
#[repr(C)]
struct CallChanged {
    registers: [u64; 20],
    fcsr: usize,
}

/// Calls `handle`, and keeps the floating-point registers of the interrupted code if it has used
/// any.
pub(crate) fn keep_float(frame: &mut TrapFrame, handle: impl FnOnce(&mut TrapFrame)) {
    if !frame.uses_float() {
        return handle(frame);
    }
    let mut kept = MaybeUninit::<CallChanged>::uninit();
    // SAFETY: the floating-point unit is on, and `kept` has a place for each register. After
    // `handle` the registers get the values that the interrupted code gave them.
    unsafe {
        store(kept.as_mut_ptr());
        handle(frame);
        load(kept.as_ptr());
    }
    // A switch to another thread may have saved other values as this thread's.
    frame.set_float_dirty();
}

#[unsafe(naked)]
unsafe extern "C" fn store(to: *mut CallChanged) {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        ".set    at, 0",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31",
        "fsd     f\\n, at(a0)",
        ".set    at, at + 8",
        ".endr",
        "csrr    t0, fcsr",
        "sd      t0, 20 * 8(a0)",
        "ret",
        ".option pop",
    )
}

#[unsafe(naked)]
unsafe extern "C" fn load(from: *const CallChanged) {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        ".set    at, 0",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31",
        "fld     f\\n, at(a0)",
        ".set    at, at + 8",
        ".endr",
        "ld      t0, 20 * 8(a0)",
        "csrw    fcsr, t0",
        "ret",
        ".option pop",
    )
}
