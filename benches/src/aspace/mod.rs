//! Address spaces on the host: ours, and two published crates driven as ArceOS's
//! `axmm` drives them. Both have x86_64's page-table format.
//!
//! On the host nobody walks the tables: a fault is the call that a trap would make,
//! and nothing is there to be forgotten. So a figure is the work on areas, entries
//! and frames, and no trap or TLB flush.

mod frames;
mod ours;
mod upstream;

use core::ops::Range;

use axbench_aspace::{Table, rows};
use page_table_multiarch::MappingFlags;

/// The addresses that both have, and what of them the loads get: as in a kernel,
/// something lies below ([`FIXED`]).
const ALL: Range<usize> = 1 << 40..1 << 46;
const LOADS: Range<usize> = 1 << 41..1 << 46;

/// The page that lies below.
const FIXED: usize = ALL.start;

const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// The name of the two crates.
pub const UPSTREAM: &str = "memory_set+page_table_multiarch";

/// Puts every load on each: `table` is told whose rows come next, ours under the
/// empty name.
pub fn visit<T: Table>(table: &mut T, mut turn: impl FnMut(&mut T, &'static str)) {
    if let Some(mut space) = ours::Space::new() {
        turn(table, "");
        rows(table, &mut space);
    }
    if let Some(mut space) = upstream::Space::new() {
        turn(table, UPSTREAM);
        rows(table, &mut space);
    }
}
