//! x86_64: `syscall`. The number is in `rax`, the arguments in `rdi`, `rsi` and `rdx`, the result in
//! `rax`. The instruction itself overwrites `rcx` and `r11`.

use core::arch::{asm, naked_asm};

use crate::start::start;

/// Calls [`start`]. The kernel enters here, with a stack pointer that is a multiple of 16.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.entry")]
extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "call {start}", start = sym start)
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
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
