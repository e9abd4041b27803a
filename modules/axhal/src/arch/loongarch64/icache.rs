//! Instruction fetches and data: see [`crate::icache`].

use core::arch::asm;
use core::ops::Range;

/// Returns `false`: the hardware keeps the instruction cache coherent with stores ("IBAR").
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Makes this hart's next fetches see its earlier stores.
pub fn refetch_instructions() {
    // SAFETY: a barrier changes no memory.
    unsafe { asm!("dbar 0", "ibar 0", options(nostack)) };
}

/// Returns `false`: another hart must be interrupted to refetch.
pub fn remote_refetch_instructions(_harts: u64) -> bool {
    false
}
