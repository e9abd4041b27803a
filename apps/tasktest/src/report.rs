//! The rows of tests with their results, and the helpers with which tests check and fail.

use alloc::format;
use alloc::string::String;
use core::fmt::Debug;

use axstd::println;
use axstd::time::Instant;

/// The result of a test: what it tested, or why it failed.
pub type Outcome = Result<String, String>;

/// The numbers of tests that have passed and that have run.
#[derive(Debug, Default)]
pub struct Report {
    passed: u32,
    all: u32,
}

impl Report {
    /// Runs a test and prints its row. `name` has at most 29 characters.
    pub fn test(&mut self, name: &str, test: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = test();
        let took = start.elapsed();
        let (ms, us) = (took.as_millis(), took.subsec_micros() % 1000);
        self.all += 1;
        match outcome {
            Ok(tested) => {
                self.passed += 1;
                println!("{name:<30}{tested:<46}{ms:>6}.{us:03} ms  ok");
            }
            Err(reason) => println!("{name:<30}FAILED: {reason}"),
        }
    }

    /// Prints the last line, and returns the exit status: 0 if all tests have passed, 1 if not.
    pub fn finish(self) -> i32 {
        let Self { passed, all } = self;
        let verdict = if passed == all { "PASS" } else { "FAIL" };
        println!("{verdict} {passed}/{all}");
        i32::from(passed != all)
    }
}

/// Fails with `reason` unless `holds`.
pub fn check(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

/// Returns an error as the reason of a failure.
pub fn error_text(error: impl Debug) -> String {
    format!("{error:?}")
}
