//! What was measured: the rows of the files that are there.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::{arceos, guest, host, irqs, threads};
use crate::figures::{self, Row};
use crate::machine::MACHINES;

/// All there is to tell.
#[derive(Debug, Default)]
pub struct Findings {
    /// The machines that anything was measured on, or has a goal.
    pub machines: Vec<Measured>,
    /// The host's rows: address spaces, and allocators.
    pub spaces: Vec<Row>,
    pub allocators: Vec<Row>,
    /// Two threads beside one.
    pub threads: Vec<Row>,
    /// Programs that measured, and their versions.
    pub versions: Vec<(&'static str, String)>,
}

/// One machine's rows. A list is empty where there is no file.
#[derive(Debug, Default)]
pub struct Measured {
    /// The machine.
    pub arch: &'static str,
    /// Ours, and other people's allocators in the same image.
    pub rows: Vec<Row>,
    /// ArceOS's.
    pub arceos: Vec<Row>,
    /// What operations ask of other harts.
    pub asked: Vec<Row>,
    /// How long operations keep interrupts out.
    pub irqs: Vec<Row>,
    /// Why there are none of ArceOS's.
    pub absent: Option<String>,
}

impl Findings {
    /// Reads the files in `dir`, those that are there.
    pub fn read(dir: &Path, absent: &HashMap<&str, String>) -> Findings {
        let rows = |file: &str| {
            let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
            figures::read_file(&text).unwrap_or_default()
        };
        let machines = MACHINES.iter().map(|machine| Measured {
            arch: machine.arch,
            rows: rows(&guest::file(machine)),
            arceos: rows(&arceos::file(machine)),
            asked: rows(&guest::harts_file(machine)),
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
    /// The value of one of our rows.
    pub fn ours(&self, name: &str) -> Option<f64> {
        value(&self.rows, name)
    }

    /// The value of one of ArceOS's, as measured here.
    pub fn arceos(&self, name: &str) -> Option<f64> {
        value(&self.arceos, name)
    }
}

fn value(rows: &[Row], name: &str) -> Option<f64> {
    Some(rows.iter().find(|row| row.name == name)?.value)
}

/// The first line that each program has to say about its version.
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
