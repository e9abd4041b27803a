//! The harness: times a load, prints a row, and all rows as JSON at the end.
//!
//! All in whole numbers: a hundredth of a nanosecond is the unit, for not every
//! kernel has its floating-point registers at hand.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hint::black_box;

use axbench::Done;
use axstd::memory::AxResult;
use axstd::time::Instant;
use axstd::{env, println};

/// How often a load is timed; the shortest time counts, in which no timer
/// interrupt came.
const TIMES: usize = 4;

/// Rounds of the empty loop.
const ROUNDS: u64 = 1_000_000;

/// A value as hundredths.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hundredths(i64);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let value = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", value / 100, value % 100)
    }
}

/// The rows so far.
pub struct Table {
    unit: &'static str,
    /// Nanoseconds that the clock tells for `ROUNDS` rounds of the empty loop, and
    /// what they are.
    clock: (u64, u64),
    rows: Vec<(String, Hundredths, &'static str)>,
    failed: bool,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        let unit = env::var("unit").unwrap_or("ns");
        let clock = clock(unit);
        let (told, are) = clock;
        let loops = Hundredths((told * 100 / ROUNDS) as i64);
        println!("the empty loop: {loops} ns a round, {are} {unit} in {ROUNDS}");
        Self {
            unit,
            clock,
            rows: Vec::new(),
            failed: false,
        }
    }

    /// Adds a row: what an operation of `load` costs, less what one of `baseline`,
    /// which does as many, costs.
    pub fn row(&mut self, name: &str, load: impl Fn() -> Done, baseline: impl Fn() -> Done) {
        match (shortest(load), shortest(baseline)) {
            (Some((operations, nanos)), Some((_, least))) => {
                self.per_operation(name, nanos as i64 - least as i64, operations);
            }
            _ => self.fail(name, "out of memory"),
        }
    }

    /// Adds a row: what an operation of `load` costs, which has a watch to time
    /// them itself, without what comes before and after.
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
        let (told, are) = self.clock;
        let nanos = i128::from(nanos) * i128::from(are) * 100;
        let operations = operations.max(1) as i128 * i128::from(told);
        let half = operations / 2 * nanos.signum();
        let value = Hundredths(((nanos + half) / operations) as i64);
        self.add(name, value, self.unit);
    }

    fn add(&mut self, name: &str, value: Hundredths, unit: &'static str) {
        println!("{name:<40} {value:>12} {unit}");
        self.rows.push((name.into(), value, unit));
    }

    /// Notes that there is no such row.
    pub fn fail(&mut self, name: &str, why: &str) {
        println!("{name:<40} {why}");
        self.failed = true;
    }

    /// Prints the JSON line and answers the exit status.
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

/// Adds up what parts of a load take.
pub struct Watch(i64);

impl Watch {
    /// Adds what `part` takes.
    pub fn time<R>(&mut self, part: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let result = part();
        self.0 += begin.elapsed().as_nanos() as i64;
        result
    }

    /// Takes off what `part` takes.
    pub fn less(&mut self, part: impl FnOnce()) {
        let mut other = Self(0);
        other.time(part);
        self.0 -= other.0;
    }
}

/// Nanoseconds as told, and as they are. The clock's rate may be measured at boot
/// and a little off; a round of the empty loop takes a whole number of
/// instructions, so what it takes says how much.
fn clock(unit: &str) -> (u64, u64) {
    let empty = |rounds| {
        shortest(|| {
            (0..rounds).for_each(|_| black_box(()));
            Ok(rounds as usize)
        })
    };
    // Without what the clock takes itself.
    let nanos = |rounds| empty(rounds).map_or(0, |(_, nanos)| nanos);
    let told = nanos(2 * ROUNDS).saturating_sub(nanos(ROUNDS)).max(1);
    let whole = (told + ROUNDS / 2) / ROUNDS * ROUNDS;
    match unit {
        "instructions" if whole > 0 => (told, whole),
        _ => (told, told),
    }
}

/// The operations of `load` and its shortest time in nanoseconds, all begun warm.
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
