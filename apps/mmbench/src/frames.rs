//! The rows of frame allocators.

use alloc::format;

use axbench::pages::{bulk, frame_pairs, large_pairs, random, script};
use axbench::{Nothing, PageBench};

use crate::ours::{Pages, ZeroedPages};
use crate::table::Table;

/// The number of operations in one measurement. Some allocators search long for 2 MiB, so that
/// these are fewer.
const PAIRS: usize = 10_000;
const LARGE_PAIRS: usize = 1000;
const RANDOM: usize = 5000;
const SEED: u64 = 0x7e55_e2a1;

/// Adds the rows of Tessera's frame allocator.
pub fn run(table: &mut Table) {
    table.row(
        "frame.zero",
        || frame_pairs(&ZeroedPages, PAIRS),
        || frame_pairs(&Pages, PAIRS),
    );
    rows(table, "", &Pages);
}

/// Adds the rows that every frame allocator has. `at` is appended to their names.
pub fn rows<A: PageBench>(table: &mut Table, at: &str, alloc: &A) {
    table.row(
        &format!("frame.pair{at}"),
        || frame_pairs(alloc, PAIRS),
        || frame_pairs(&Nothing, PAIRS),
    );
    table.row(
        &format!("block_2m.pair{at}"),
        || large_pairs(alloc, LARGE_PAIRS),
        || large_pairs(&Nothing, LARGE_PAIRS),
    );
    let load = bulk();
    table.row(
        &format!("frame_bulk.op{at}"),
        || random(alloc, &load),
        || random(&Nothing, &load),
    );
    let load = script(SEED, RANDOM);
    table.row(
        &format!("frame_random.op{at}"),
        || random(alloc, &load),
        || random(&Nothing, &load),
    );
}
