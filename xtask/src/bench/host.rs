//! The benchmarks on the host: programs of `benches/` under valgrind's callgrind,
//! each load once with N rounds and once with 2N. The difference is the cost of N
//! rounds, to the instruction; less that of the subject that does nothing, if
//! there is one, of N operations.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::manifest::root;
use crate::options::Options;
use crate::toolchain;

/// The set-up item that counts instructions.
pub const ITEM: &str = "valgrind";
/// The package of the programs.
const PACKAGE: &str = "axbench";
/// How a program calls ours, and what does nothing.
const OURS: &str = "ours";
const NOTHING: &str = "nothing";

/// Lets the C library fill memory by vectors, as a kernel would on a machine whose
/// `rep stosb` is slow: of that, callgrind counts each byte as an instruction.
const FILL: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_stosb_threshold=1000000000",
);

/// A program that measures.
struct Subject {
    /// What it is, for people.
    title: &'static str,
    /// Its name.
    program: &'static str,
    /// What callgrind is told beyond to count.
    callgrind: &'static [&'static str],
    /// Where its rows go, in `target/bench`.
    file: &'static str,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        title: "allocators on the host",
        program: "axbench-count",
        callgrind: &[],
        file: ALLOCATORS,
    },
    Subject {
        title: "address spaces on the host",
        program: "axmm-count",
        callgrind: &["--toggle-collect=*counted*"],
        file: SPACES,
    },
];

/// The files of the rows.
pub const ALLOCATORS: &str = "axalloc-host.json";
pub const SPACES: &str = "axmm-host.json";

/// Measures each row of each subject, prints tables and writes the files. Without
/// valgrind it says so, and no more.
pub fn measure(options: &Options) -> Result<(), Failure> {
    if toolchain::set_up(&[ITEM.to_owned()]).is_err() {
        say!("host: valgrind is missing, so nothing was measured here");
        return Ok(());
    }
    for subject in SUBJECTS {
        let rows = subject.rows(options)?;
        say!(
            "{}, instructions; others': how many times ours",
            subject.title
        );
        say!("{}", figures::table(&rows));
        let path = figures::write(subject.file, &rows)?;
        say!("all rows in {}\n", path.display());
    }
    Ok(())
}

impl Subject {
    fn rows(&self, options: &Options) -> Result<Vec<Row>, Failure> {
        let program = build(options, self.program)?;
        let mut own_part = HashMap::new();
        let mut rows = Vec::new();
        for (row, peer) in list(&program)? {
            let cost = self
                .operation(options, &program, &row, &peer)
                .with_context(|| format!("{row} of {peer}"))?;
            if peer == NOTHING {
                own_part.insert(row, cost);
                continue;
            }
            let own_part = own_part.get(&row).copied().unwrap_or_default();
            let name = match peer.as_str() {
                OURS => row,
                _ => format!("{row}@{peer}"),
            };
            let value = ((cost - own_part) * 100.0).round() / 100.0;
            rows.push(Row::new(name, value, "instructions"));
        }
        Ok(rows)
    }

    /// The instructions of one operation, the load's own part included.
    fn operation(&self, options: &Options, program: &Path, row: &str, peer: &str) -> Result<f64> {
        let rounds = rounds(row);
        let (first, some) = self.count(options, program, row, peer, rounds)?;
        let (second, more) = self.count(options, program, row, peer, 2 * rounds)?;
        ensure!(second > first && more > some, "it does not count");
        Ok((second - first) as f64 / (more - some) as f64)
    }

    /// The instructions of a whole run, and its operations.
    fn count(
        &self,
        options: &Options,
        program: &Path,
        row: &str,
        peer: &str,
        rounds: u32,
    ) -> Result<(u64, u64)> {
        let mut valgrind = command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .args(self.callgrind)
            .arg(program)
            .args([row, peer, &rounds.to_string()])
            .env(FILL.0, FILL.1);
        command::show(&valgrind, options.verbose);
        let output = valgrind.output().context("cannot run valgrind")?;
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        let operations = said(output)?.trim().parse()?;
        let instructions = collected(&report).with_context(|| format!("no count in:\n{report}"))?;
        Ok((instructions, operations))
    }
}

/// Builds a program as `cargo bench` would.
pub fn build(options: &Options, program: &str) -> Result<PathBuf, Failure> {
    let target = root().join("target");
    let mut cargo = command::cargo();
    cargo
        .args(["build", "-q", "--profile", "bench", "--package", PACKAGE])
        .args(["--bin", program, "--target-dir"])
        .arg(&target)
        .current_dir(root());
    command::show(&cargo, options.verbose);
    command::run(&mut cargo)?;
    Ok(target.join("release").join(program))
}

/// Each row and subject there is, those of what does nothing first.
fn list(program: &Path) -> Result<Vec<(String, String)>> {
    let said = said(command::new(program).output().context("cannot run it")?)?;
    let pair = |line: &str| {
        let (row, peer) = line.split_once(' ')?;
        Some((row.to_owned(), peer.to_owned()))
    };
    Ok(said.lines().filter_map(pair).collect())
}

/// A round of a pair is one operation; a search for 2 MiB may be long; a round of
/// any other row is a whole load.
fn rounds(row: &str) -> u32 {
    match row {
        "block_2m.pair" => 200,
        _ if row.ends_with(".op") => 2,
        _ if row.ends_with(".pair") => 2000,
        _ => 1,
    }
}

/// The standard output of a program that ended well.
pub fn said(output: Output) -> Result<String> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{words}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// What callgrind counted: `==1== Collected : 1234`.
fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("Collected : "))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrind_s_count_is_found() {
        let report = "==7== \n==7== Events    : Ir\n==7== Collected : 802378\n==7== \n";
        assert_eq!(collected(report), Some(802_378));
        assert_eq!(collected("==7== Collected : many"), None);
        assert_eq!(collected(""), None);
    }
}
