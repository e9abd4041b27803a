//! No hart reaches a page or a page table that has been freed.
//!
//! [`axmm_machines::simulation`] runs harts whose TLBs keep stale entries as long as the
//! architecture allows, in random schedules. Machines that flush too little must make it
//! fail, which shows that it detects such errors.
//!
//! `TESSERA_RUNS=1000000 cargo test -p axmm --test stale_tlb` makes that many runs, for the
//! five page-table formats together. `TESSERA_SEED` repeats a run that has failed. Under
//! `--cfg shuttle`, shuttle also switches harts at each access to an atomic of axmm.

mod support;

use support::simulation::rules::Rules;
use support::simulation::runs::{
    FORMATS, from_environment, require_detection, require_no_failure, rules_of, seeds,
};
use support::simulation::{Bug, Workload, run, run_workload};
use support::{TestMachine, alone};

/// The number of runs, for all formats together.
const RUNS: u64 = 100_000;

/// The number of runs in which harts wait in a queue, for all formats together.
const CONTENDED_RUNS: u64 = 10_000;

/// The number of runs within which each bug must make one fail.
const RUNS_WITH_A_BUG: u64 = 60_000;

const BUGS: [Bug; 11] = [
    Bug::NeverFlushes,
    Bug::FlushesLocallyOnly,
    Bug::SkipsLastHart,
    Bug::FlushesFirstPageOnly,
    Bug::KeepsWalkCache,
    Bug::DoesNotWait,
    Bug::EntersWithoutFlush,
    Bug::LeavesTooEarly,
    Bug::StartsWithoutFlush,
    Bug::KeepsInstructions,
    Bug::DoesNotCleanCode,
];

fn no_hart_reaches_what_is_freed<M: TestMachine>() {
    let _alone = alone();
    require_no_failure::<M>(RUNS, |rules, seed| run::<M>(rules, Bug::None, seed));
}

fn no_hart_is_overtaken_again_and_again<M: TestMachine>() {
    let _alone = alone();
    let runs = from_environment("TESSERA_RUNS").unwrap_or(CONTENDED_RUNS) / FORMATS;
    let rules = rules_of::<M>()[0];
    let mut waits = 0;
    for seed in seeds(runs) {
        let outcome = run_workload::<M>(Some(Workload::Contention), rules, Bug::None, seed);
        if let Some(failure) = outcome.failure {
            panic!("{}, TESSERA_SEED={seed}: {failure}", M::NAME);
        }
        waits += outcome.waits;
    }
    let is_enough = waits as u64 >= runs || from_environment("TESSERA_SEED").is_some();
    assert!(is_enough, "{}: only {waits} waits in {runs} runs", M::NAME);
}

fn a_machine_that_flushes_too_little_is_detected<M: TestMachine>() {
    let _alone = alone();
    let bugs = |rules: &Rules| {
        let rules = *rules;
        BUGS.into_iter().filter(move |bug| has_effect(*bug, &rules))
    };
    require_detection::<M, _>(bugs, RUNS_WITH_A_BUG, run::<M>);
}

on_every_machine!(
    no_hart_reaches_what_is_freed,
    no_hart_is_overtaken_again_and_again,
    a_machine_that_flushes_too_little_is_detected
);

/// Returns whether a machine with the bug behaves differently under these rules. For example,
/// a hart that caches no pointers to tables cannot keep one.
fn has_effect(bug: Bug, rules: &Rules) -> bool {
    use support::simulation::rules::{NewStack, Shootdown, WalkCache};
    match bug {
        Bug::KeepsWalkCache => rules.walk_cache != WalkCache::None,
        Bug::DoesNotWait => rules.shootdown == Shootdown::Interrupt,
        Bug::DoesNotCleanCode => rules.needs_cleaning,
        Bug::StartsWithoutFlush => rules.new_stack != NewStack::Nothing,
        Bug::LeavesTooEarly => rules.shootdown != Shootdown::Broadcast,
        _ => true,
    }
}
