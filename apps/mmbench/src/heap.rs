//! The rows of heaps.

use alloc::format;

use axbench::heap::{random, script, small_pairs};
use axbench::{HeapBench, Nothing};

use crate::ours::Heap;
use crate::table::Table;

/// The number of operations in one measurement.
const PAIRS: usize = 10_000;
const RANDOM: usize = 20_000;
const SEED: u64 = 0x7e55_e2a2;

/// Adds the rows of Tessera's heap.
pub fn run(table: &mut Table) {
    rows(table, "", &Heap);
}

/// Adds the rows that every heap has. `at` is appended to their names.
pub fn rows<A: HeapBench>(table: &mut Table, at: &str, heap: &A) {
    table.row(
        &format!("heap_64.pair{at}"),
        || small_pairs(heap, PAIRS),
        || small_pairs(&Nothing, PAIRS),
    );
    let load = script(SEED, RANDOM);
    table.row(
        &format!("heap_random.op{at}"),
        || random(heap, &load),
        || random(&Nothing, &load),
    );
}
