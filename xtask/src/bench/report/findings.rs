//! Reads what was measured: the rows that the report shows, from the files in `target/bench`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::{arceos, guest, host, irqs, threads};
use crate::figures::{self, Row};
use crate::machine::MACHINES;

/// All that the report shows.
#[derive(Debug, Default)]
pub struct Findings {
    /// The machines on which `apps/mmbench` has measured.
    pub machines: Vec<Measured>,
    /// The rows of address spaces on the host.
    pub spaces: Vec<Row>,
    /// The rows of allocators on the host.
    pub allocators: Vec<Row>,
    /// The rows that compare two threads with one.
    pub threads: Vec<Row>,
    /// The programs that measure and the computer, with their versions.
    pub versions: Vec<(&'static str, String)>,
}

/// One machine's rows. A list is empty where there is no file.
#[derive(Debug, Default)]
pub struct Measured {
    /// The machine's name.
    pub arch: &'static str,
    /// Our rows, and those of other projects' allocators in the same image.
    pub rows: Vec<Row>,
    /// The rows of ArceOS.
    pub arceos: Vec<Row>,
    /// How often operations disturb other harts.
    pub disturbance: Vec<Row>,
    /// How long operations keep interrupts disabled.
    pub irqs: Vec<Row>,
    /// Why ArceOS could not be measured.
    pub absent: Option<String>,
}

impl Findings {
    /// Reads the files in `dir`. A file that is missing or damaged gives no rows.
    pub fn read(dir: &Path, absent: &HashMap<&str, String>) -> Findings {
        let rows = |file: &str| {
            let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
            figures::read_file(&text).unwrap_or_default()
        };
        let machines = MACHINES.iter().map(|machine| Measured {
            arch: machine.arch,
            rows: rows(&guest::file(machine)),
            arceos: rows(&arceos::file(machine)),
            disturbance: rows(&guest::harts_file(machine)),
            irqs: rows(&irqs::file(machine)),
            absent: absent.get(machine.arch).cloned(),
        });
        Findings {
            machines: machines.filter(|found| !found.rows.is_empty()).collect(),
            spaces: rows(host::SPACES),
            allocators: rows(host::ALLOCATORS),
            threads: rows(threads::FILE),
            versions: versions(),
        }
    }
}

impl Measured {
    /// Returns the value of one of our rows.
    pub fn ours(&self, name: &str) -> Option<f64> {
        value(&self.rows, name)
    }

    /// Returns the value of a row of ArceOS, as measured on this computer.
    pub fn arceos(&self, name: &str) -> Option<f64> {
        value(&self.arceos, name)
    }
}

fn value(rows: &[Row], name: &str) -> Option<f64> {
    Some(rows.iter().find(|row| row.name == name)?.value)
}

/// Returns the computer's processor, and the first line of each program's `--version`.
fn versions() -> Vec<(&'static str, String)> {
    let programs = [
        ("rustc", "rustc"),
        ("QEMU, riscv64", "qemu-system-riscv64"),
        ("QEMU, x86_64", "qemu-system-x86_64"),
        ("valgrind", "valgrind"),
    ];
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let words = String::from_utf8(output.stdout).ok()?;
        Some(words.lines().next()?.to_owned())
    };
    let machine = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let programs = programs.map(|(name, program)| Some((name, version(program)?)));
    let machine = machine.map(|model| ("computer", model));
    [machine].into_iter().chain(programs).flatten().collect()
}
