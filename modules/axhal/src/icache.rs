//! Making instruction fetches see what has been written as data.
//!
//! Between writing code and executing it come two steps. First the written bytes are
//! [cleaned](clean): they leave the data caches for where instruction fetches look. Only
//! machines whose fetches do not see data caches need it. Then every hart that may execute
//! the code [refetches](sync): it drops what its instruction cache and its pipeline hold.
//!
//! | | to clean | to refetch | on other harts |
//! |---|---|---|---|
//! | riscv64 | nothing | `fence.i` | SBI's remote `fence.i` |
//! | x86_64 | nothing | a serializing instruction | an interrupt |
//! | aarch64 | `dc cvau`, unless `CTR_EL0.IDC` | `ic ialluis`, unless `CTR_EL0.DIC`; `isb` | an interrupt |
//! | loongarch64 | nothing | `ibar 0` | an interrupt |
//! | host | nothing | nothing: Linux does it when it changes mappings | |
//!
//! A hart that waits for another hart acknowledges requests meanwhile ([`tlb`](crate::tlb)).

use core::ops::Range;

use crate::arch;

/// Returns whether [`clean`] has something to do on this machine.
pub fn needs_cleaning() -> bool {
    arch::needs_cleaning()
}

/// Makes what has been written to `bytes`, a range of virtual addresses, visible to where
/// instruction fetches look. It stops at the first page that is not mapped.
pub fn clean(bytes: Range<usize>) {
    arch::clean_code(bytes);
}

/// Makes every hart refetch instructions, so that it executes what has been
/// [cleaned](clean). Returns when every hart has dropped what it had fetched before.
///
/// The caller must not hold a lock for which another hart spins with interrupts off, unless
/// that hart calls [`acknowledge`](crate::tlb::acknowledge) as it spins.
pub fn sync() {
    arch::refetch_instructions();
    crate::tlb::refetch_on_others();
}
