//! riscv64: `ecall`. The number is in `a7`, the arguments in `a0` to `a2`, the result in `a0`.

use core::arch::{asm, naked_asm};

use crate::start::start;

/// Calls [`start`]. The kernel enters here, with a stack pointer that is a multiple of 16.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.entry")]
extern "C" fn _start() -> ! {
    naked_asm!("mv fp, zero", "call {start}", start = sym start)
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
            "ecall",
            inlateout("a0") arguments[0] => result,
            in("a1") arguments[1],
            in("a2") arguments[2],
            in("a7") number,
            options(nostack),
        );
    }
    result
}
