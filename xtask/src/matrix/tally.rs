//! Counts test cases, and prints a line for each.

use std::sync::Mutex;
use std::time::Instant;

use super::boots::Boot;

/// The outcome of a case: what to add to its line, or why it has failed.
pub type Verdict = Result<String, String>;

/// The count so far. Its lock also keeps the lines of cases that end at the same time apart.
#[derive(Default)]
pub struct Tally {
    count: Mutex<Count>,
}

/// How many cases have passed, failed and been skipped, and how many of them booted a machine.
#[derive(Default, Clone, Copy)]
pub struct Count {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
    pub booted: u32,
}

impl Tally {
    /// Prints the line of a case that has been run since `begin`, and counts it.
    pub fn record(&self, name: &str, begin: Instant, verdict: Verdict) {
        let Ok(mut count) = self.count.lock() else {
            return;
        };
        let seconds = begin.elapsed().as_secs_f64();
        match verdict {
            Ok(words) => {
                count.passed += 1;
                say!("ok      {name:<48}{seconds:>7.1} s  {words}");
            }
            Err(reason) => {
                count.failed += 1;
                say!("FAILED  {name:<48}{seconds:>7.1} s");
                reason.lines().for_each(|line| say!("        | {line}"));
            }
        }
    }

    /// Prints that a case cannot be run here, with the reason, and counts it.
    pub fn skip(&self, name: &str, reason: &str) {
        if let Ok(mut count) = self.count.lock() {
            count.skipped += 1;
            say!("skipped {name:<48}           {reason}");
        }
    }

    /// Runs a case, prints its line and counts it.
    pub fn case(&self, name: &str, case: impl FnOnce() -> Verdict) {
        let begin = Instant::now();
        self.record(name, begin, case());
    }

    /// Runs a case that boots a machine, prints its line and counts it.
    pub fn boot(&self, case: Boot) {
        let begin = Instant::now();
        let verdict = case.run();
        self.record(&case.name, begin, verdict);
        if let Ok(mut count) = self.count.lock() {
            count.booted += 1;
        }
    }

    /// Returns the count so far.
    pub fn count(&self) -> Count {
        self.count.lock().map(|count| *count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_failed_and_skipped_cases_are_counted() {
        let tally = Tally::default();
        tally.case("good", || Ok(String::new()));
        tally.case("bad", || Err("why".to_owned()));
        tally.skip("absent", "no such program");
        let count = tally.count();
        assert_eq!((count.passed, count.failed, count.skipped), (1, 1, 1));
        assert_eq!(count.booted, 0);
    }
}
