//! Instruction fetches and data: see [`crate::icache`].

use core::arch::asm;
use core::ops::Range;

use super::remote::for_each_mask;

/// Returns `false`: a fence orders fetches behind all stores that the hart sees
/// ("Zifencei").
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Makes this hart's next fetches see the stores that it sees.
pub fn refetch_instructions() {
    // SAFETY: a fence changes no memory.
    unsafe { asm!("fence rw, rw", "fence.i", options(nostack)) };
}

/// Makes each hart of the set `harts` refetch instructions, by SBI's remote fence extension.
/// Returns when they have, and whether the firmware could do it.
pub fn remote_refetch_instructions(harts: u64) -> bool {
    for_each_mask(harts, |mask| sbi_rt::remote_fence_i(mask).is_ok())
}
