//! No hart reaches a page that a memory object has given up in several address spaces, and none
//! writes to a page of a snapshot.
//!
//! Harts change an object while others use it through two address spaces, in the simulation of
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

fn change<M: TestMachine>(rules: Rules, bug: Bug, seed: u64) -> Option<String> {
    run_workload::<M>(Some(Workload::Objects), rules, bug, seed).failure
}

fn no_hart_reaches_what_an_object_gave_up<M: TestMachine>() {
    let _alone = alone();
    require_no_failure::<M>(RUNS, |rules, seed| change::<M>(rules, Bug::None, seed));
}

fn a_machine_that_flushes_too_little_is_detected<M: TestMachine>() {
    let _alone = alone();
    require_detection::<M, _>(|_| BUGS, RUNS_WITH_A_BUG, change::<M>);
}

on_every_machine!(
    no_hart_reaches_what_an_object_gave_up,
    a_machine_that_flushes_too_little_is_detected
);
