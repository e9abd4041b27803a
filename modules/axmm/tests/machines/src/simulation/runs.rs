//! How often simulated harts run, and by which rules; what must come of the runs.

use std::ops::Range;

use super::Bug;
use super::rules::{A64, LA64, Rules, SV, X64, X64_WITHOUT_PCIDS};
use crate::TestMachine;

/// The number of page-table formats, among which the runs of a test are divided.
pub const FORMATS: u64 = 5;

/// Returns the number in an environment variable.
pub fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Returns the seeds of this number of runs, or the seed that the environment selects.
pub fn seeds(runs: u64) -> Range<u64> {
    match from_environment("TESSERA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    }
}

/// Returns the TLB rules of the architectures that have this machine's page tables.
pub fn rules_of<M: TestMachine>() -> Vec<Rules> {
    match M::NAME {
        "X64" => vec![X64, X64_WITHOUT_PCIDS],
        "A64" => vec![A64],
        "La64" => vec![LA64],
        _ => vec![SV],
    }
}

/// Requires that no run fails. There are `runs` for the five formats together, unless the
/// environment says how many (`TESSERA_RUNS`).
///
/// # Panics
///
/// Panics if `run`, which gets the rules and the seed, returns a failure.
pub fn require_no_failure<M: TestMachine>(runs: u64, run: impl Fn(Rules, u64) -> Option<String>) {
    let rules = rules_of::<M>();
    let runs = from_environment("TESSERA_RUNS").unwrap_or(runs) / FORMATS / rules.len() as u64;
    for rules in rules {
        for seed in seeds(runs) {
            if let Some(failure) = run(rules, seed) {
                panic!("{}, TESSERA_SEED={seed}: {failure}", M::NAME);
            }
        }
    }
}

/// Requires that each of the bugs that `bugs` returns for some rules makes one of `runs` runs fail.
///
/// # Panics
///
/// Panics if `run`, which gets the rules, the bug and the seed, returns no failure.
pub fn require_detection<M: TestMachine, B: IntoIterator<Item = Bug>>(
    bugs: impl Fn(&Rules) -> B,
    runs: u64,
    run: impl Fn(Rules, Bug, u64) -> Option<String>,
) {
    for rules in rules_of::<M>() {
        for bug in bugs(&rules) {
            let failed = |seed| Some((seed, run(rules, bug, seed)?));
            match (0..runs).find_map(failed) {
                Some((seed, failure)) => eprintln!("{}, {bug:?}: {seed}, {failure}", M::NAME),
                None => panic!("{}: no run detects {bug:?}", M::NAME),
            }
        }
    }
}
