//! aarch64: `svc #0`. The number is in `x8`, the arguments in `x0` to `x2`, the result in `x0`.

use core::arch::{asm, naked_asm};

use crate::start::start;

/// Calls [`start`]. The kernel enters here, with a stack pointer that is a multiple of 16.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.entry")]
extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "bl {start}", start = sym start)
}

/// Makes a system call. Returns its result.
///
/// # Safety
///
/// If the call writes to memory, or takes memory away, no reference to that memory is used
/// afterwards.
pub unsafe fn system_call(number: usize, arguments: [usize; 3]) -> isize {
    let result;
    // SAFETY: the kernel preserves all registers but those named here. The caller answers for
    // memory.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x8") number,
            options(nostack),
        );
    }
    result
}
