//! Instruction fetches and data: see [`crate::icache`].
#![cfg(feature = "paging")]

use core::arch::asm;
use core::ops::Range;

use super::paging::for_each_mask;

/// Nothing is to be cleaned: a fence orders fetches behind all stores that the hart sees
/// ("Zifencei").
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Makes this hart's next fetches see the stores that it sees.
pub fn fetch_anew() {
    // SAFETY: a fence changes nothing.
    unsafe { asm!("fence rw, rw", "fence.i", options(nostack)) };
}

/// Makes each hart of the set `harts` do the same: SBI's remote fence extension, which
/// returns when they have.
pub fn remote_fetch_anew(harts: u64) -> bool {
    for_each_mask(harts, |mask| sbi_rt::remote_fence_i(mask).is_ok())
}
