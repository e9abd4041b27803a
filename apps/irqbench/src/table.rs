//! The rows: printed one by one, and all as JSON at the end.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use axstd::{env, println};

/// The rows so far.
pub struct Table {
    unit: &'static str,
    /// Each as JSON.
    rows: Vec<String>,
    failed: bool,
}

impl Table {
    /// Returns an empty table, of nanoseconds or of what the boot argument `unit` calls them.
    pub fn new() -> Self {
        Self {
            unit: env::var("unit").unwrap_or("ns"),
            rows: Vec::new(),
            failed: false,
        }
    }

    /// Adds a row of so many nanoseconds.
    pub fn row(&mut self, name: &str, nanos: u64) {
        let unit = self.unit;
        println!("{name:<40} {nanos:>12} {unit}");
        let row = format!(r#"{{"name": "{name}", "value": {nanos}, "unit": "{unit}"}}"#);
        self.rows.push(row);
    }

    /// Says why this machine has no such row, which is no failure.
    pub fn skip(&self, name: &str, why: &str) {
        println!("{name:<40} left out: {why}");
    }

    /// Says why a row could not be measured.
    pub fn fail(&mut self, name: &str, why: &str) {
        println!("{name:<40} {why}");
        self.failed = true;
    }

    /// Prints the JSON line and returns the exit status.
    pub fn finish(self) -> i32 {
        println!("{{\"rows\": [{}]}}", self.rows.join(", "));
        i32::from(self.failed)
    }
}
