//! The harness: it measures a load, prints a row, and prints all rows as JSON at the end.
//!
//! Values are integers, in hundredths of a nanosecond, since not every kernel enables the
//! floating-point registers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hint::black_box;

use axbench::Done;
use axstd::memory::AxResult;
use axstd::time::Instant;
use axstd::{env, println};

/// How many times a load is measured. The shortest time counts, since a timer interrupt makes the
/// others longer.
const TIMES: usize = 4;

/// The number of rounds of the empty loop.
const ROUNDS: u64 = 1_000_000;

/// A value in hundredths.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hundredths(i64);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let value = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", value / 100, value % 100)
    }
}

/// The rows that have been measured.
pub struct Table {
    unit: &'static str,
    /// The nanoseconds for `ROUNDS` rounds of the empty loop: as the clock shows them, and as they
    /// are.
    clock: (u64, u64),
    rows: Vec<(String, Hundredths, &'static str)>,
    failed: bool,
}

impl Table {
    /// Returns an empty table. Calibrates the clock, and prints the result.
    pub fn new() -> Self {
        let unit = env::var("unit").unwrap_or("ns");
        let clock = calibrate_clock(unit);
        let (shown, actual) = clock;
        let loops = Hundredths((shown * 100 / ROUNDS) as i64);
        println!("empty loop: {loops} ns per round, {actual} {unit} in {ROUNDS} rounds");
        Self {
            unit,
            clock,
            rows: Vec::new(),
            failed: false,
        }
    }

    /// Adds a row: the cost of an operation of `load`, less that of `baseline`, which has as many
    /// operations.
    pub fn row(&mut self, name: &str, load: impl Fn() -> Done, baseline: impl Fn() -> Done) {
        match (shortest(load), shortest(baseline)) {
            (Some((operations, nanos)), Some((_, least))) => {
                self.per_operation(name, nanos as i64 - least as i64, operations);
            }
            _ => self.fail(name, "out of memory"),
        }
    }

    /// Adds a row: the cost of an operation of `load`. The load measures its operations itself with
    /// the watch, without their preparation, and returns their number.
    pub fn timed(&mut self, name: &str, load: impl Fn(&mut Watch) -> AxResult<usize>) {
        let once = || {
            let mut watch = Watch(0);
            load(&mut watch).map(|operations| (watch.0, operations))
        };
        let times = (0..=TIMES).map(|_| once()).skip(1);
        match times.reduce(|a, b| Ok(a?.min(b?))) {
            Some(Ok((nanos, operations))) => self.per_operation(name, nanos, operations),
            failed => self.fail(name, &format!("{failed:?}")),
        }
    }

    /// Adds a row that is not a time.
    pub fn count(&mut self, name: &str, value: usize, unit: &'static str) {
        self.add(name, Hundredths(value as i64 * 100), unit);
    }

    fn per_operation(&mut self, name: &str, nanos: i64, operations: usize) {
        let (shown, actual) = self.clock;
        let nanos = i128::from(nanos) * i128::from(actual) * 100;
        let operations = operations.max(1) as i128 * i128::from(shown);
        let half = operations / 2 * nanos.signum();
        let value = Hundredths(((nanos + half) / operations) as i64);
        self.add(name, value, self.unit);
    }

    fn add(&mut self, name: &str, value: Hundredths, unit: &'static str) {
        println!("{name:<40} {value:>12} {unit}");
        self.rows.push((name.into(), value, unit));
    }

    /// Prints why a row could not be measured, and makes the exit status 1.
    pub fn fail(&mut self, name: &str, why: &str) {
        println!("{name:<40} {why}");
        self.failed = true;
    }

    /// Prints the JSON line, and returns the exit status: 1 if a row could not be measured.
    pub fn finish(self) -> i32 {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|(name, value, unit)| {
                format!(r#"{{"name": "{name}", "value": {value}, "unit": "{unit}"}}"#)
            })
            .collect();
        println!("{{\"rows\": [{}]}}", rows.join(", "));
        i32::from(self.failed)
    }
}

/// A stopwatch that adds up the times of a load's parts, in nanoseconds.
pub struct Watch(i64);

impl Watch {
    /// Runs `part` and adds the time that it takes.
    pub fn time<R>(&mut self, part: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let result = part();
        self.0 += begin.elapsed().as_nanos() as i64;
        result
    }

    /// Runs `part` and subtracts the time that it takes.
    pub fn less(&mut self, part: impl FnOnce()) {
        let mut other = Self(0);
        other.time(part);
        self.0 -= other.0;
    }
}

/// Returns the nanoseconds of [`ROUNDS`] rounds of the empty loop: as the clock shows them, and as
/// they are. The two differ where the clock's rate was measured at boot. A round takes a whole
/// number of instructions, so that the actual time follows by rounding.
fn calibrate_clock(unit: &str) -> (u64, u64) {
    let empty = |rounds| {
        shortest(|| {
            (0..rounds).for_each(|_| black_box(()));
            Ok(rounds as usize)
        })
    };
    // The difference of two measurements leaves out the time that reading the clock takes.
    let nanos = |rounds| empty(rounds).map_or(0, |(_, nanos)| nanos);
    let shown = nanos(2 * ROUNDS).saturating_sub(nanos(ROUNDS)).max(1);
    let whole = (shown + ROUNDS / 2) / ROUNDS * ROUNDS;
    match unit {
        "instructions" if whole > 0 => (shown, whole),
        _ => (shown, shown),
    }
}

/// Returns the number of operations of `load`, and its shortest time in nanoseconds, after one run
/// to warm up.
fn shortest(load: impl Fn() -> Done) -> Option<(usize, u64)> {
    let mut operations = load().ok()?;
    let mut least = u64::MAX;
    for _ in 0..TIMES {
        let begin = Instant::now();
        operations = load().ok()?;
        least = least.min(begin.elapsed().as_nanos() as u64);
    }
    Some((operations, least))
}
