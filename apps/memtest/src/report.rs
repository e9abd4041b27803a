//! The table of tests with their results, and the helpers with which tests check and fail.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use axstd::memory::AxError;
use axstd::time::Instant;
use axstd::{harts, print, println};
use spin::Mutex;

/// The result of a test: what it tested, or why it failed.
pub type Outcome = Result<String, String>;

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Whether a progress bar covers the name of the running test. Relaxed: `run_on_all` in the
/// test orders the hart that draws before the hart that reads.
static BAR_DRAWN: AtomicBool = AtomicBool::new(false);

/// Draws a progress bar, `done` of `all`, over the current line. `done` starts at 1. The bar
/// is drawn again only when another twentieth of the work is done.
pub fn draw_bar(what: &str, done: usize, all: usize) {
    const FULL: &str = "####################";
    let part = done * FULL.len() / all;
    if part > (done - 1) * FULL.len() / all {
        let percent = done * 100 / all;
        print!("\r  [{:<20}] {percent:3}% {what}\x1b[K", &FULL[..part]);
        BAR_DRAWN.store(true, Ordering::Relaxed);
    }
}

/// The results of the tests that have run.
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Returns an empty report.
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Runs a test, prints its name and result, and adds its row. `name` has at most 29
    /// characters.
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
            Err(reason) => println!("FAILED: {reason}"),
        }
        self.rows.push(Row {
            name,
            outcome,
            took,
        });
    }

    /// Prints the table and the last line, and returns the exit status: 0 if all tests have
    /// passed, 1 if not.
    pub fn finish(self) -> i32 {
        println!("\n{:<30}{:<46}{:>12}  result", "test", "tested", "time");
        for Row {
            name,
            outcome,
            took,
        } in &self.rows
        {
            let (details, result) = match outcome {
                Ok(tested) => (tested, "ok"),
                Err(reason) => (reason, "FAILED"),
            };
            let (ms, us) = (took.as_millis(), took.subsec_micros() % 1000);
            println!("{name:<30}{details:<46}{ms:>6}.{us:03} ms  {result}");
        }
        let passed = self.rows.iter().filter(|row| row.outcome.is_ok()).count();
        let all = self.rows.len();
        let verdict = if passed == all { "PASS" } else { "FAIL" };
        println!("{verdict} {passed}/{all}");
        i32::from(passed != all)
    }
}

/// Runs `work` on every hart at the same time. Returns the error of the first hart that
/// fails, with the hart's number.
pub fn on_all(work: impl Fn(usize) -> Result<(), String> + Sync) -> Result<(), String> {
    let failure = Mutex::new(None);
    let ran = harts::run_on_all(|hart| {
        if let Err(reason) = work(hart) {
            let reason = format!("hart {hart}: {reason}");
            failure.lock().get_or_insert(reason);
        }
    });
    ran.map_err(|error| format!("work on all harts: {error:?}"))?;
    failure.into_inner().map_or(Ok(()), Err)
}

/// Fails with `reason` unless `holds`.
pub fn check(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

/// Returns the name of an error, as the reason of a failure.
pub fn error_text(error: AxError) -> String {
    format!("{error:?}")
}
