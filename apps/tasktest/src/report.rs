//! What was tested, how it went, and the verdict.

use alloc::string::String;

use axstd::println;
use axstd::time::Instant;

/// What a test did, or what went wrong.
pub type Outcome = Result<String, String>;

/// How many tests went well, of how many.
#[derive(Debug, Default)]
pub struct Report {
    passed: u32,
    all: u32,
}

impl Report {
    /// Runs a test and prints how it went.
    pub fn test(&mut self, name: &str, test: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = test();
        let took = start.elapsed();
        let (ms, us) = (took.as_millis(), took.subsec_micros() % 1000);
        self.all += 1;
        match outcome {
            Ok(done) => {
                self.passed += 1;
                println!("{name:<34}{done:<46}{ms:>6}.{us:03} ms  ok");
            }
            Err(what) => println!("{name:<34}FAILED: {what}"),
        }
    }

    /// Prints the verdict; the exit status that says the same.
    pub fn finish(self) -> i32 {
        let Self { passed, all } = self;
        let verdict = if passed == all { "PASS" } else { "FAIL" };
        println!("{verdict} {passed}/{all}");
        i32::from(passed != all)
    }
}

/// Fails unless `held`.
pub fn check(held: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if held { Ok(()) } else { Err(what()) }
}
