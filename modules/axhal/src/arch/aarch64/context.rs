//! The switch between threads: it saves what a call preserves (Procedure Call Standard for
//! the Arm 64-bit Architecture, "General-purpose registers"), `x19` to `x30` and the stack.
//!
//! The target is soft-float: code for it uses no SIMD and floating-point registers.

use core::arch::naked_asm;

pub use crate::arch::no_float::NoFloat as Float;

/// The words on the stack of a thread that does not run.
pub const SAVED_WORDS: usize = 12;
/// The index of the word that says where the thread continues: `x30`.
pub const RETURN_WORD: usize = 11;

/// Switches stacks: stores the current stack pointer to `from`, and continues where an
/// earlier switch has stored `to`.
///
/// # Safety
///
/// See [`Context::switch`](crate::context::Context::switch).
#[unsafe(naked)]
pub unsafe extern "C" fn switch_stacks(from: *mut usize, to: usize) {
    naked_asm!(
        "stp     x19, x20, [sp, #-96]!",
        "stp     x21, x22, [sp, #16]",
        "stp     x23, x24, [sp, #32]",
        "stp     x25, x26, [sp, #48]",
        "stp     x27, x28, [sp, #64]",
        "stp     x29, x30, [sp, #80]",
        "mov     x9, sp",
        "str     x9, [x0]",
        "mov     sp, x1",
        "ldp     x21, x22, [sp, #16]",
        "ldp     x23, x24, [sp, #32]",
        "ldp     x25, x26, [sp, #48]",
        "ldp     x27, x28, [sp, #64]",
        "ldp     x29, x30, [sp, #80]",
        "ldp     x19, x20, [sp], #96",
        "ret",
    )
}
