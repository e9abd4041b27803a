//! Instruction fetches and data: see [`crate::icache`].
#![cfg(feature = "paging")]

use core::arch::asm;
use core::ops::Range;

/// Nothing is to be cleaned: hardware keeps the instruction cache coherent with stores
/// ("IBAR").
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Makes this hart's next fetches see the stores in front of it.
pub fn fetch_anew() {
    // SAFETY: a barrier changes nothing.
    unsafe { asm!("dbar 0", "ibar 0", options(nostack)) };
}

/// No hart can do it for another: it must be interrupted.
pub fn remote_fetch_anew(_harts: u64) -> bool {
    false
}
