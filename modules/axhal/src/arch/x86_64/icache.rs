//! Instruction fetches and data: see [`crate::icache`].
#![cfg(feature = "paging")]

use core::hint::black_box;
use core::ops::Range;

use x86::cpuid::native_cpuid::cpuid_count;

/// Nothing is to be cleaned: caches are coherent.
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Drops what this hart has fetched ahead, by a serializing instruction (SDM 9.1.3,
/// "Handling Self- and Cross-Modifying Code": needed on every hart but the one that wrote,
/// and there too if it wrote by another address).
pub fn fetch_anew() {
    black_box(cpuid_count(0, 0));
}

/// No hart can do it for another: it must be interrupted.
pub fn remote_fetch_anew(_harts: u64) -> bool {
    false
}
