//! No hart reaches what is no longer there: simulated harts that remember as much as
//! they may ([`axmm_machines::stale`]), in random schedules.
//!
//! `TESSERA_RUNS=1000000 cargo test -p axmm --test stale` makes as many runs, of the five
//! formats together; `TESSERA_SEED` repeats one that has failed. Under `--cfg shuttle`
//! harts take turns at each step of axmm's own atomics, too: claims, versions, marks.

use std::ops::Range;

mod support;

use support::stale::rules::{A64, LA64, Rules, SV, X64, X64_WITHOUT_IDS};
use support::stale::{Fault, Theme, run, run_about};
use support::{TestMachine, alone};

/// Runs in all.
const RUNS: u64 = 100_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of so many runs, or the one that is asked for.
fn seeds(runs: u64) -> Range<u64> {
    match from_environment("TESSERA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    }
}

fn rules_of<M: TestMachine>() -> Vec<Rules> {
    match M::NAME {
        "X64" => vec![X64, X64_WITHOUT_IDS],
        "A64" => vec![A64],
        "La64" => vec![LA64],
        _ => vec![SV],
    }
}

fn no_hart_reaches_what_is_gone<M: TestMachine>() {
    let _alone = alone();
    let rules = rules_of::<M>();
    let runs = from_environment("TESSERA_RUNS").unwrap_or(RUNS) / 5 / rules.len() as u64;
    for rules in rules {
        for seed in seeds(runs) {
            if let Some(wrong) = run::<M>(rules, Fault::None, seed) {
                panic!("{}, TESSERA_SEED={seed}: {wrong}", M::NAME);
            }
        }
    }
}

/// Runs in all in which harts meet in a queue.
const CROWDS: u64 = 10_000;

fn no_hart_is_overtaken_again_and_again<M: TestMachine>() {
    let _alone = alone();
    let runs = from_environment("TESSERA_RUNS").unwrap_or(CROWDS) / 5;
    let rules = rules_of::<M>()[0];
    let mut waits = 0;
    for seed in seeds(runs) {
        let outcome = run_about::<M>(Some(Theme::Crowd), rules, Fault::None, seed);
        if let Some(wrong) = outcome.wrong {
            panic!("{}, TESSERA_SEED={seed}: {wrong}", M::NAME);
        }
        waits += outcome.waits;
    }
    let is_enough = waits as u64 >= runs || from_environment("TESSERA_SEED").is_some();
    assert!(is_enough, "{}: {waits} waits in {runs} runs", M::NAME);
}

/// Each fault of a machine shows within so many runs.
const SOON: u64 = 60_000;

fn who_forgets_too_little_is_found<M: TestMachine>() {
    let _alone = alone();
    let faults = [
        Fault::ForgetsNothing,
        Fault::ForgetsHereOnly,
        Fault::OneIsLeftOut,
        Fault::FirstPageOnly,
        Fault::KeepsUpper,
        Fault::DoesNotWait,
        Fault::EntersAsItIs,
        Fault::LeavesTooEarly,
        Fault::RunsAsItIs,
        Fault::KeepsInstructions,
        Fault::CleansNothing,
    ];
    for rules in rules_of::<M>() {
        for fault in faults.into_iter().filter(|fault| matters(*fault, &rules)) {
            let found = (0..SOON).find_map(|seed| Some((seed, run::<M>(rules, fault, seed)?)));
            match found {
                Some((seed, wrong)) => eprintln!("{}, {fault:?}: {seed}, {wrong}", M::NAME),
                None => panic!("{}: nobody notices: {fault:?}", M::NAME),
            }
        }
    }
}

on_every_machine!(
    no_hart_reaches_what_is_gone,
    no_hart_is_overtaken_again_and_again,
    who_forgets_too_little_is_found
);

/// Where nobody remembers upper entries none can be kept; where nobody is asked, nobody
/// is waited for.
fn matters(fault: Fault, rules: &Rules) -> bool {
    use support::stale::rules::{Fresh, Upper, Way};
    match fault {
        Fault::KeepsUpper => rules.upper != Upper::None,
        Fault::DoesNotWait => rules.way == Way::Interrupt,
        Fault::CleansNothing => rules.cleans,
        Fault::RunsAsItIs => rules.fresh != Fresh::Nothing,
        Fault::LeavesTooEarly => rules.way != Way::Broadcast,
        _ => true,
    }
}
