//! The tests that run on this computer, without a machine.

use std::process::Command;

use crate::command::{self, all_output};
use crate::manifest::{
    HOST_FEATURES, HOST_PACKAGES, LOOM_PACKAGES, OBJECT_PACKAGES, OBJECT_TESTS, PROCESS_PACKAGES,
    SHUTTLE_PACKAGES, root, spec,
};
use crate::options::clear_variables;

use super::tally::Verdict;

/// Runs the tests of the packages that build on the host.
pub fn host_tests() -> Verdict {
    tests_of(&HOST_PACKAGES, &["--features", HOST_FEATURES])
}

/// Runs the tests of memory objects and copy-on-write.
pub fn object_tests() -> Verdict {
    tests_of(&OBJECT_PACKAGES, &OBJECT_TESTS)
}

/// Runs the tests in which parts of the kernel run as a Linux process.
pub fn process_tests() -> Verdict {
    tests_of(&PROCESS_PACKAGES, &["--all-features"])
}

fn tests_of(packages: &[&str], features: &[&str]) -> Verdict {
    let mut cargo = test_command(packages);
    cargo.args(features);
    verdict_of_tests(cargo)
}

/// Returns the command that runs the packages' tests: nextest if it is installed, or else
/// `cargo test`. nextest runs the tests of all packages at the same time, each in a process of its
/// own. So two tests under loom, which maps and unmaps a stack for each simulated thread, do not
/// wait for each other in Linux.
fn test_command(packages: &[&str]) -> Command {
    let nextest = command::cargo().args(["nextest", "--version"]).output();
    let nextest = nextest.is_ok_and(|output| output.status.success());
    let mut cargo = command::cargo();
    if nextest {
        // nextest ends its tests when it gets a SIGTERM. `cargo test` does not.
        cargo.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        cargo.args(["test", "--no-fail-fast"]);
        cargo.envs(command::runner_variable());
    }
    for package in packages {
        cargo.args(["--package", &spec(package)]);
    }
    cargo
}

/// Runs the tests called `interleavings` under loom, which replaces the atomics of the
/// lock-free parts and tries every order of their threads' steps.
pub fn interleavings() -> Verdict {
    let which = ["--features", "axmm/objects", "--lib", "interleavings"];
    verdict_of_tests(tests_under("loom", &LOOM_PACKAGES, &which))
}

/// Runs the tests called `schedules` under shuttle, which replaces atomics and threads and
/// tries as many random orders as each test says.
pub fn schedules() -> Verdict {
    let which = ["--lib", "schedules"];
    verdict_of_tests(tests_under("shuttle", &SHUTTLE_PACKAGES, &which))
}

/// Simulates harts with TLBs `runs` times under shuttle, which can switch from one hart to
/// another at each access to an atomic. The runs are divided among the page-table formats.
pub fn simulated_harts(runs: &str) -> Verdict {
    let mut cargo = tests_under("shuttle", &["axmm"], &["--test", "stale_tlb", "no_hart"]);
    cargo.env("TESSERA_RUNS", runs);
    verdict_of_tests(cargo)
}

/// Returns the command for the packages' tests that `which` selects, built for `scheduler`.
/// It has a target directory of its own, because the flag that selects the scheduler makes
/// cargo build all crates again.
fn tests_under(scheduler: &str, packages: &[&str], which: &[&str]) -> Command {
    let mut cargo = test_command(packages);
    cargo
        .arg("--release")
        .args(which)
        .args(["--target-dir", &format!("target/{scheduler}")])
        .env("RUSTFLAGS", format!("--cfg {scheduler}"));
    cargo
}

/// Runs a command of cargo's that runs tests. Returns how many tests ran.
pub fn verdict_of_tests(mut cargo: Command) -> Verdict {
    // xtask's tests would read the user's variables. make's name a job server that it does not
    // share.
    clear_variables(&mut cargo);
    let output = cargo
        .current_dir(root())
        .output()
        .map_err(|error| error.to_string())?;
    let text = all_output(&output);
    match count_tests(&text) {
        0 => Err(format!("no test ran; cargo printed:\n{text}")),
        count if output.status.success() => Ok(format!("{count} tests")),
        _ => Err(text),
    }
}

/// Returns how many tests ran, from nextest's `Summary … N tests run`, or from cargo test's
/// lines `test result: … N passed; N failed`.
pub fn count_tests(text: &str) -> u32 {
    let count = |line: &str, before: &str| -> Option<u32> {
        line.split_once(before)?
            .0
            .split_whitespace()
            .last()?
            .parse()
            .ok()
    };
    let ends = [" tests run:", " passed;", " failed;"];
    text.lines()
        .flat_map(|line| ends.map(|end| count(line, end).unwrap_or_default()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tests_is_read_from_either_runner() {
        assert_eq!(
            count_tests("     Summary [   0.1s] 22 tests run: 22 passed, 0 skipped\n"),
            22
        );
        assert_eq!(
            count_tests(
                "test result: ok. 3 passed; 0 failed;\ntest result: ok. 4 passed; 0 failed;"
            ),
            7
        );
        assert_eq!(
            count_tests("test result: FAILED. 0 passed; 2 failed; 1 ignored; 3 measured"),
            2
        );
        assert_eq!(count_tests("error: no such package"), 0);
    }
}
