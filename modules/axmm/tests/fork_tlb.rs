//! No hart writes to a page that another address space shares, and none reads a page that has been
//! replaced by a copy.
//!
//! Harts fork the address spaces of user programs while others use them, in the simulation of
//! `stale_tlb.rs`. `TESSERA_RUNS` and `TESSERA_SEED` are as there.

mod support;

use support::simulation::rules::Rules;
use support::simulation::runs::{require_detection, require_no_failure};
use support::simulation::{Bug, Workload, run_workload};
use support::{TestMachine, alone};

/// The number of runs, for the five formats together.
const RUNS: u64 = 10_000;
/// The number of runs within which each bug must make one fail.
const RUNS_WITH_A_BUG: u64 = 20_000;

const BUGS: [Bug; 5] = [
    Bug::NeverFlushes,
    Bug::FlushesLocallyOnly,
    Bug::SkipsLastHart,
    Bug::FlushesFirstPageOnly,
    Bug::EntersWithoutFlush,
];

fn fork<M: TestMachine>(rules: Rules, bug: Bug, seed: u64) -> Option<String> {
    run_workload::<M>(Some(Workload::Forks), rules, bug, seed).failure
}

fn no_hart_writes_to_what_is_shared<M: TestMachine>() {
    let _alone = alone();
    require_no_failure::<M>(RUNS, |rules, seed| fork::<M>(rules, Bug::None, seed));
}

fn a_machine_that_flushes_too_little_is_detected<M: TestMachine>() {
    let _alone = alone();
    require_detection::<M, _>(|_| BUGS, RUNS_WITH_A_BUG, fork::<M>);
}

on_every_machine!(
    no_hart_writes_to_what_is_shared,
    a_machine_that_flushes_too_little_is_detected
);
