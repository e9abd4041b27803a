//! What one thread leaves to the next (System V ABI, AMD64 supplement, "Registers"):
//! `rbx`, `rbp`, `r12` to `r15`, and the stack.
//!
//! The kernel and its applications are compiled without SSE and x87 registers on a
//! machine. In a process they use them, but a call preserves none of those.

use core::arch::naked_asm;

pub use crate::context::NoFloat as Float;

/// Words on the stack of a thread that does not run: six registers, where to go on,
/// and one that makes a function begin as after a call.
pub const SAVED: usize = 8;
/// Which of them says where to go on.
pub const RETURN: usize = 6;

/// Leaves one stack, whose end goes to `from`, for the one that was left at `to`.
///
/// # Safety
///
/// See [`Context::switch`](crate::context::Context::switch).
#[unsafe(naked)]
pub unsafe extern "C" fn switch_stacks(from: *mut usize, to: usize) {
    naked_asm!(
        "push    rbx",
        "push    rbp",
        "push    r12",
        "push    r13",
        "push    r14",
        "push    r15",
        "mov     [rdi], rsp",
        "mov     rsp, rsi",
        "pop     r15",
        "pop     r14",
        "pop     r13",
        "pop     r12",
        "pop     rbp",
        "pop     rbx",
        "ret",
    )
}
