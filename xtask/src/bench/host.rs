//! Runs the benchmarks on the host: programs of `benches/` under valgrind's callgrind.
//!
//! Each load runs once with N rounds and once with 2N. The difference is the exact cost of N
//! rounds. Some programs also run the load with an allocator that does nothing. Its cost is
//! that of the load itself, and is subtracted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::files;
use crate::manifest::root;
use crate::options::Options;
use crate::toolchain;

/// The set-up item that installs valgrind.
pub const ITEM: &str = "valgrind";
/// The package of the programs.
const PACKAGE: &str = "axbench";
/// The programs' names for our allocator, and for the one that does nothing.
const OURS: &str = "ours";
const NOTHING: &str = "nothing";

/// The environment variable, and its value, that make the C library fill memory by vector
/// instructions. callgrind counts each byte of a `rep stosb` as an instruction.
const FILL: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_stosb_threshold=1000000000",
);

/// A program that measures.
struct Subject {
    /// The title of its table.
    title: &'static str,
    /// The program's name.
    program: &'static str,
    /// Further arguments for callgrind.
    callgrind: &'static [&'static str],
    /// The file of its rows, in `target/bench`.
    file: &'static str,
}

const SUBJECTS: [Subject; 3] = [
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
    Subject {
        title: "memory sets on the host",
        program: "memory-set-count",
        callgrind: &["--toggle-collect=*counted*"],
        file: "memory-set-host.json",
    },
];

/// The names of the files of the rows.
pub const ALLOCATORS: &str = "axalloc-host.json";
pub const SPACES: &str = "axmm-host.json";

/// Measures each row of each program, prints tables and writes the files. Without valgrind it
/// prints that valgrind is missing, and removes the files.
pub fn measure(options: &Options) -> Result<(), Failure> {
    if toolchain::set_up(&[ITEM.to_owned()]).is_err() {
        say!("host: not measured, because valgrind is missing\n");
        return Ok(remove_rows(&root().join("target/bench"))?);
    }
    for subject in SUBJECTS {
        let rows = subject.rows(options)?;
        say!(
            "{}, instructions; for other projects also the ratio to ours",
            subject.title
        );
        say!("{}", figures::table(&rows));
        let path = figures::write(subject.file, &rows)?;
        say!("all rows in {}\n", path.display());
    }
    Ok(())
}

/// Removes the files of all programs from `folder`, so that the report does not show rows of an
/// earlier run.
fn remove_rows(folder: &Path) -> Result<()> {
    SUBJECTS
        .iter()
        .try_for_each(|subject| files::remove(&folder.join(subject.file)))
}

impl Subject {
    fn rows(&self, options: &Options) -> Result<Vec<Row>, Failure> {
        let program = build(options, self.program, &[])?;
        let mut load_cost = HashMap::new();
        let mut rows = Vec::new();
        for (row, peer) in list(&program)? {
            let cost = self
                .cost_of_operation(options, &program, &row, &peer)
                .with_context(|| format!("{row} of {peer}"))?;
            if peer == NOTHING {
                load_cost.insert(row, cost);
                continue;
            }
            let load_cost = load_cost.get(&row).copied().unwrap_or_default();
            let name = match peer.as_str() {
                OURS => row,
                _ => format!("{row}@{peer}"),
            };
            let value = ((cost - load_cost) * 100.0).round() / 100.0;
            rows.push(Row::new(name, value, "instructions"));
        }
        Ok(rows)
    }

    /// Returns the instructions of one operation, including those of the load itself.
    fn cost_of_operation(
        &self,
        options: &Options,
        program: &Path,
        row: &str,
        peer: &str,
    ) -> Result<f64> {
        let rounds = rounds(row);
        let (once, operations) = self.count(options, program, row, peer, rounds)?;
        let (twice, more) = self.count(options, program, row, peer, 2 * rounds)?;
        ensure!(
            twice > once && more > operations,
            "{rounds} rounds took {once} instructions for {operations} operations, and {} rounds \
             {twice} for {more}; both should grow",
            2 * rounds
        );
        Ok((twice - once) as f64 / (more - operations) as f64)
    }

    /// Returns the instructions of a whole run, and its number of operations.
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
        let operations = stdout_of(output)?.trim().parse()?;
        let instructions = collected(&report)
            .with_context(|| format!("callgrind printed no line `Collected : N`:\n{report}"))?;
        Ok((instructions, operations))
    }
}

/// Builds a program with the profile of `cargo bench` and these features, and returns its path.
pub fn build(options: &Options, program: &str, features: &[&str]) -> Result<PathBuf, Failure> {
    let target = root().join("target");
    let mut cargo = command::cargo();
    cargo
        .args(["build", "-q", "--profile", "bench", "--package", PACKAGE])
        .args(["--bin", program, "--features", &features.join(",")])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root());
    command::show(&cargo, options.verbose);
    command::run(&mut cargo)?;
    Ok(target.join("release").join(program))
}

/// Returns each row with each allocator or address space that the program knows, in the
/// program's order: those of the allocator that does nothing come first.
fn list(program: &Path) -> Result<Vec<(String, String)>> {
    let stdout = stdout_of(
        command::new(program)
            .output()
            .context("cannot run the benchmark")?,
    )?;
    let pair = |line: &str| {
        let (row, peer) = line.split_once(' ')?;
        Some((row.to_owned(), peer.to_owned()))
    };
    Ok(stdout.lines().filter_map(pair).collect())
}

/// Returns how many rounds of a row to count. In a row `.pair` a round is one operation, so
/// there must be many; one of 2 MiB may take long. In all other rows a round has many
/// operations.
fn rounds(row: &str) -> u32 {
    match row {
        "block_2m.pair" => 200,
        _ if row.ends_with(".op") => 2,
        _ if row.ends_with(".pair") => 2000,
        _ => 1,
    }
}

/// Returns the standard output of a program.
///
/// # Errors
///
/// Fails if the program did not succeed. The message holds its standard error.
pub fn stdout_of(output: Output) -> Result<String> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{words}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the count in callgrind's report: `==1== Collected : 1234`.
fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("Collected : "))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    #[test]
    fn the_rows_of_an_earlier_run_are_removed() {
        let folder = env::temp_dir().join(format!("tessera-rows-{}", std::process::id()));
        let all = [ALLOCATORS, SPACES, "memory-set-host.json"].map(|file| folder.join(file));
        all.iter().for_each(|file| files::write(file, "").unwrap());
        remove_rows(&folder).unwrap();
        assert!(fs::remove_dir(&folder).is_ok(), "a file is left");
    }

    #[test]
    fn the_count_of_callgrind_is_read() {
        let report = "==7== \n==7== Events    : Ir\n==7== Collected : 802378\n==7== \n";
        assert_eq!(collected(report), Some(802_378));
        assert_eq!(collected("==7== Collected : many"), None);
        assert_eq!(collected(""), None);
    }
}
