//! Random operations on memory objects and the address spaces that show them, as the fuzz target
//! `objects` performs them.
//!
//! `TESSERA_STEPS=10000000 cargo test -p axmm --features objects,axmm-machines/objects --test owners`
//! performs that many operations, for all formats together. `TESSERA_SEED` repeats a run that has
//! failed.

use std::alloc::System;
use std::fs;
use std::path::Path;

use axalloc::fault::FailingHeap;
use axmm_machines::targets::objects;
use fastrand::Rng;

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// The number of operations, for the five formats together.
const STEPS: usize = 200_000;
/// The bytes of a script: some 7 make an operation.
const BYTES: usize = 1400;

#[test]
fn every_kept_input_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/objects");
    let mut inputs = 0;
    for input in fs::read_dir(corpus).unwrap() {
        let path = input.unwrap().path();
        println!("{}", path.display());
        objects(&fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 10, "{inputs} inputs");
}

#[test]
fn owners_of_memory_are_apart() {
    let number_in = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number_in("TESSERA_SEED");
    let steps = number_in("TESSERA_STEPS").unwrap_or(STEPS as u64) as usize;
    let scripts = if seed.is_some() { 1 } else { steps * 7 / BYTES };
    let mut seeds = Rng::with_seed(1);
    for _ in 0..scripts {
        let seed = seed.unwrap_or_else(|| seeds.u64(..));
        let mut bytes = [0; BYTES];
        Rng::with_seed(seed).fill(&mut bytes);
        let result = std::panic::catch_unwind(|| objects(&bytes));
        assert!(result.is_ok(), "TESSERA_SEED={seed}");
    }
}
