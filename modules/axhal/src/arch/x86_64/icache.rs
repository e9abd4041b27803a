//! Instruction fetches and data: see [`crate::icache`].

use core::hint::black_box;
use core::ops::Range;

use x86::cpuid::native_cpuid::cpuid_count;

/// Returns `false`: the caches are coherent.
pub const fn needs_cleaning() -> bool {
    false
}

/// Does nothing: see [`needs_cleaning`].
pub fn clean_code(_bytes: Range<usize>) {}

/// Makes this hart drop the instructions that it has fetched ahead, by a serializing
/// instruction (SDM 9.1.3, "Handling Self- and Cross-Modifying Code"). Every hart needs it
/// but the one that wrote, which needs it too if it wrote by another virtual address.
pub fn refetch_instructions() {
    black_box(cpuid_count(0, 0));
}

/// Returns `false`: another hart must be interrupted to refetch.
pub fn remote_refetch_instructions(_harts: u64) -> bool {
    false
}
