//! Instruction fetches that see what has been written as data.
//!
//! To write code and to execute it takes two steps in between. The bytes are
//! [cleaned](clean): they go to where instruction fetches look, which is only to be done
//! where data caches keep them from there. Then every hart that may execute them
//! [fetches anew](sync): it drops what its instruction cache and its pipeline hold.
//!
//! | | to clean | to fetch anew | on other harts |
//! |---|---|---|---|
//! | riscv64 | nothing | `fence.i` | SBI's remote `fence.i` |
//! | x86_64 | nothing | a serializing instruction | an interrupt |
//! | aarch64 | `dc cvau`, unless `CTR_EL0.IDC` | `ic ialluis`, unless `CTR_EL0.DIC`; `isb` | an interrupt |
//! | loongarch64 | nothing | `ibar 0` | an interrupt |
//! | host | nothing | nothing: Linux does it as it changes mappings | |
//!
//! A hart that waits for another takes the request as it waits ([`tlb`](crate::tlb)).

use core::ops::Range;

use crate::arch;

/// Whether [`clean`] has something to do on this machine.
pub fn needs_cleaning() -> bool {
    arch::needs_cleaning()
}

/// Makes what has been written to a range of addresses reach where instruction fetches
/// look. What is not mapped there is passed over.
pub fn clean(bytes: Range<usize>) {
    arch::clean_code(bytes);
}

/// Makes every hart fetch anew what has been [cleaned](clean). Returns when all have
/// dropped what they had fetched before.
///
/// Must not be called with a lock held that another hart spins for with interrupts off,
/// unless that hart calls [`answer`](crate::tlb::answer) as it spins.
pub fn sync() {
    arch::fetch_anew();
    crate::tlb::fetch_anew_on_others();
}
