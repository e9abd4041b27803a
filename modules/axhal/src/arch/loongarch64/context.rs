//! The switch between threads: it saves what a call preserves (LoongArch ELF psABI,
//! "General-purpose registers"), `ra`, `fp`, `s0` to `s8`, and the stack. `r21` is the hart's.
//!
//! The target is soft-float: code for it uses no floating-point registers.

use core::arch::naked_asm;

pub use crate::arch::no_float::NoFloat as Float;

/// The words on the stack of a thread that does not run: eleven registers, and one word
/// that keeps the stack aligned.
pub const SAVED_WORDS: usize = 12;
/// The index of the word that says where the thread continues: `ra`.
pub const RETURN_WORD: usize = 0;

/// Switches stacks: stores the current stack pointer to `from`, and continues where an
/// earlier switch has stored `to`.
///
/// # Safety
///
/// See [`Context::switch`](crate::context::Context::switch).
#[unsafe(naked)]
pub unsafe extern "C" fn switch_stacks(from: *mut usize, to: usize) {
    naked_asm!(
        "addi.d  $sp, $sp, -96",
        "st.d    $ra, $sp, 0",
        ".irp n, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "st.d    $r\\n, $sp, (\\n - 21) * 8",
        ".endr",
        "st.d    $sp, $a0, 0",
        "move    $sp, $a1",
        "ld.d    $ra, $sp, 0",
        ".irp n, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "ld.d    $r\\n, $sp, (\\n - 21) * 8",
        ".endr",
        "addi.d  $sp, $sp, 96",
        "ret",
    )
}
