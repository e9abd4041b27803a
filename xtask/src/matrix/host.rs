//! The tests that run on this computer.

use std::process::Command;

use crate::command;
use crate::manifest::{
    HOST_FEATURES, HOST_PACKAGES, LOOM_PACKAGES, PROCESS_PACKAGES, SHUTTLE_PACKAGES, root, spec,
};

use super::refusals::{forget_variables, said};
use super::tally::Verdict;

/// The packages' own tests.
pub fn host_tests() -> Verdict {
    tests_of(&HOST_PACKAGES, &["--features", HOST_FEATURES])
}

/// The tests of a kernel in a process.
pub fn process_tests() -> Verdict {
    tests_of(&PROCESS_PACKAGES, &["--all-features"])
}

fn tests_of(packages: &[&str], features: &[&str]) -> Verdict {
    let nextest = command::cargo().args(["nextest", "--version"]).output();
    let nextest = nextest.is_ok_and(|output| output.status.success());
    let mut cargo = command::cargo();
    if nextest {
        // It ends its tests itself when it is told to end.
        cargo.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        cargo.args(["test", "--no-fail-fast"]);
        cargo.envs(command::runner());
    }
    for package in packages {
        cargo.args(["--package", &spec(package)]);
    }
    cargo.args(features);
    verdict_of_tests(cargo)
}

/// The tests called `interleavings`, of the lock-free parts, under loom, which replaces
/// their atomics and tries each order in which threads can come. Built apart: all crates
/// see its flag.
pub fn interleavings() -> Verdict {
    let which = ["--lib", "interleavings"];
    verdict_of_tests(tests_under("loom", &LOOM_PACKAGES, &which))
}

/// The tests called `schedules` under shuttle, which does the same and tries as many
/// orders as each test says.
pub fn schedules() -> Verdict {
    let which = ["--lib", "schedules"];
    verdict_of_tests(tests_under("shuttle", &SHUTTLE_PACKAGES, &which))
}

/// So many runs of axmm's simulated harts, which take turns at any step of an atomic of
/// axmm's, too.
pub fn simulated_harts(runs: &str) -> Verdict {
    let mut cargo = tests_under("shuttle", &["axmm"], &["--test", "stale", "no_hart"]);
    cargo.env("TESSERA_RUNS", runs);
    verdict_of_tests(cargo)
}

/// The packages' tests that are meant, with `scheduler` in the place of the threads.
fn tests_under(scheduler: &str, packages: &[&str], which: &[&str]) -> Command {
    let mut cargo = command::cargo();
    cargo
        .args(["test", "--release", "--no-fail-fast"])
        .args(which)
        .envs(command::runner())
        .args(["--target-dir", &format!("target/{scheduler}")])
        .env("RUSTFLAGS", format!("--cfg {scheduler}"));
    for package in packages {
        cargo.args(["--package", &spec(package)]);
    }
    cargo
}

/// Runs tests, and answers how many they were.
pub fn verdict_of_tests(mut cargo: Command) -> Verdict {
    // The variables of this run are not those of the tests.
    forget_variables(&mut cargo);
    let output = cargo
        .current_dir(root())
        .output()
        .map_err(|error| error.to_string())?;
    let text = said(&output);
    match tests_run(&text) {
        0 => Err(format!("no test ran\n{text}")),
        count if output.status.success() => Ok(format!("{count} tests")),
        _ => Err(text),
    }
}

/// How many tests a runner says to have run: nextest's `Summary … N tests run`, or
/// the sum of cargo test's `test result: ok. N passed`.
pub fn tests_run(text: &str) -> u32 {
    let count = |line: &str, before: &str| -> Option<u32> {
        line.split_once(before)?
            .0
            .split_whitespace()
            .last()?
            .parse()
            .ok()
    };
    text.lines()
        .filter_map(|line| count(line, " tests run:").or_else(|| count(line, " passed; ")))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_tell_how_many_tests_ran() {
        assert_eq!(
            tests_run("     Summary [   0.1s] 22 tests run: 22 passed, 0 skipped\n"),
            22
        );
        assert_eq!(
            tests_run("test result: ok. 3 passed; 0 failed;\ntest result: ok. 4 passed; 0 failed;"),
            7
        );
        assert_eq!(tests_run("error: no such package"), 0);
    }
}
