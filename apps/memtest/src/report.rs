//! What was tested, how it went, and the verdict.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use axstd::time::Instant;
use axstd::{harts, print, println};
use spin::Mutex;

/// What a test did, or what went wrong.
pub type Outcome = Result<String, String>;

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Whether a bar covers the name of the test that runs.
static BAR_DRAWN: AtomicBool = AtomicBool::new(false);

/// Draws how far a test is, `done` of `all`, over whatever is on the line; drawn
/// anew for every twentieth part.
pub fn bar(what: &str, done: usize, all: usize) {
    const FULL: &str = "####################";
    let part = done * FULL.len() / all;
    if part > (done - 1) * FULL.len() / all {
        let percent = done * 100 / all;
        print!("\r  [{:<20}] {percent:3}% {what}\x1b[K", &FULL[..part]);
        BAR_DRAWN.store(true, Ordering::Relaxed);
    }
}

/// All tests so far.
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// None so far.
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Runs a test and notes how it went.
    pub fn test(&mut self, name: &'static str, test: impl FnOnce() -> Outcome) {
        print!("  {name:<30}");
        let start = Instant::now();
        let outcome = test();
        let took = start.elapsed();
        if BAR_DRAWN.swap(false, Ordering::Relaxed) {
            print!("\r  {name:<30}\x1b[K");
        }
        match &outcome {
            Ok(_) => println!("ok"),
            Err(what) => println!("FAILED: {what}"),
        }
        self.rows.push(Row {
            name,
            outcome,
            took,
        });
    }

    /// Prints the table and the verdict; the exit status that says the same.
    pub fn finish(self) -> i32 {
        println!(
            "\n{:<30}{:<46}{:>12}  result",
            "test", "what was done", "time"
        );
        for Row {
            name,
            outcome,
            took,
        } in &self.rows
        {
            let (done, result) = match outcome {
                Ok(done) => (done, "ok"),
                Err(what) => (what, "FAILED"),
            };
            let (ms, us) = (took.as_millis(), took.subsec_micros() % 1000);
            println!("{name:<30}{done:<46}{ms:>6}.{us:03} ms  {result}");
        }
        let passed = self.rows.iter().filter(|row| row.outcome.is_ok()).count();
        let all = self.rows.len();
        let verdict = if passed == all { "PASS" } else { "FAIL" };
        println!("{verdict} {passed}/{all}");
        i32::from(passed != all)
    }
}

/// Runs `work` on every hart at the same time; fails with what the first hart to
/// fail said.
pub fn on_all(work: impl Fn(usize) -> Result<(), String> + Sync) -> Result<(), String> {
    let failure = Mutex::new(None);
    let ran = harts::run_on_all(|hart| {
        if let Err(what) = work(hart) {
            failure.lock().get_or_insert(format!("hart {hart}: {what}"));
        }
    });
    ran.map_err(|error| format!("work on all harts: {error:?}"))?;
    failure.into_inner().map_or(Ok(()), Err)
}

/// Fails unless `held`.
pub fn check(held: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if held { Ok(()) } else { Err(what()) }
}
