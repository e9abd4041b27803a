//! The rows, which are printed one by one, and all as JSON at the end.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use axstd::{env, println};

/// The rows that have been measured.
pub struct Table {
    unit: &'static str,
    /// The rows, as JSON.
    rows: Vec<String>,
    failed: bool,
}

impl Table {
    /// Returns an empty table. The boot argument `unit` names the unit of the rows; without it they
    /// are nanoseconds.
    pub fn new() -> Self {
        Self {
            unit: env::var("unit").unwrap_or("ns"),
            rows: Vec::new(),
            failed: false,
        }
    }

    /// Adds a row, whose value is `nanos`.
    pub fn row(&mut self, name: &str, nanos: u64) {
        let unit = self.unit;
        println!("{name:<40} {nanos:>12} {unit}");
        let row = format!(r#"{{"name": "{name}", "value": {nanos}, "unit": "{unit}"}}"#);
        self.rows.push(row);
    }

    /// Prints why this machine cannot have a row, which is not a failure.
    pub fn skip(&self, name: &str, why: &str) {
        println!("{name:<40} skipped: {why}");
    }

    /// Prints why a row could not be measured, and makes the exit status 1.
    pub fn fail(&mut self, name: &str, why: &str) {
        println!("{name:<40} {why}");
        self.failed = true;
    }

    /// Prints the JSON line, and returns the exit status: 1 if a row could not be measured.
    pub fn finish(self) -> i32 {
        println!("{{\"rows\": [{}]}}", self.rows.join(", "));
        i32::from(self.failed)
    }
}
