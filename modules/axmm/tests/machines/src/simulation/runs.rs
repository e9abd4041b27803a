//! How often simulated harts run, and by which rules.

use std::ops::Range;

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
