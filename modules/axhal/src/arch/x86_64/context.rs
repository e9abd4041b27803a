//! The switch between threads: it saves what a call preserves (System V ABI, AMD64
//! supplement, "Registers"), `rbx`, `rbp`, `r12` to `r15`, and the stack.
//!
//! On a machine, the kernel and its applications are compiled without SSE and x87 registers.
//! In a process they use them, but no call preserves them, so the switch need not save them.

use core::arch::naked_asm;

pub use crate::arch::no_float::NoFloat as Float;

/// The words on the stack of a thread that does not run: six registers, the address where
/// it continues, and one word that aligns the stack as after a call.
pub const SAVED_WORDS: usize = 8;
/// The index of the word that says where the thread continues.
pub const RETURN_WORD: usize = 6;

/// Switches stacks: stores the current stack pointer to `from`, and continues where an
/// earlier switch has stored `to`.
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
