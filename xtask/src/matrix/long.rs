//! `test-long`: the random tests of the host, many times as long as in `test`.

use std::process::Command;

use crate::failure::Failure;
use crate::manifest::spec;
use crate::options::Options;

use super::host::verdict_of_tests;
use super::tally::Tally;

/// Steps of the address spaces beside their model, of the five formats together.
const STEPS: &str = "10000000";
/// How many times as many scripts as in `test` the others take.
const TIMES: &str = "5";

/// The tests that are long: what they are called, and cargo's words for them.
const TESTS: [(&str, &str, &[&str]); 4] = [
    ("address spaces, 10^7 steps", "axmm", &["--test", "model"]),
    ("areas, page table", "axmm", &["--lib"]),
    ("allocator, its parts", "axalloc", &["--lib"]),
    ("allocator, the whole", "axalloc", &["--test", "model"]),
];

/// All of them, a line each and a summary.
pub fn test_long(_: &Options) -> Result<(), Failure> {
    let tally = Tally::default();
    for (name, package, which) in TESTS {
        tally.case(name, || {
            let mut cargo = Command::new("cargo");
            cargo.args(["test", "--package", &spec(package)]);
            cargo
                .args(which)
                .env("TESSERA_STEPS", STEPS)
                .env("TESSERA_TIMES", TIMES);
            verdict_of_tests(cargo)
        });
    }
    let count = tally.count();
    println!("{} passed, {} failed", count.passed, count.failed);
    match count.failed {
        0 => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}
