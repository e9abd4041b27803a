//! The benchmarks on the host: `axbench-count` under valgrind's callgrind, once
//! with N rounds and once with 2N. The difference is the cost of N rounds, to the
//! instruction; less that of the allocator that does nothing, of N operations.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::failure::Failure;
use crate::figures::{self, Row};
use crate::manifest::root;
use crate::options::Options;
use crate::toolchain;

/// The set-up item that counts instructions.
pub const ITEM: &str = "valgrind";
/// The package, and its program.
const PACKAGE: &str = "axbench";
const PROGRAM: &str = "axbench-count";
/// How the program calls ours, and the allocator that does nothing.
const OURS: &str = "ours";
const NOTHING: &str = "nothing";

/// Measures each row of each allocator, prints a table and writes
/// `target/bench/axalloc-host.json`. Without valgrind it says so, and no more.
pub fn bench_host(options: &Options) -> Result<(), Failure> {
    if toolchain::set_up(&[ITEM.to_owned()]).is_err() {
        println!("host: valgrind is missing, so nothing was measured here");
        return Ok(());
    }
    let program = build(options)?;
    let mut own_part = HashMap::new();
    let mut rows = Vec::new();
    for (row, peer) in list(&program)? {
        let cost = operation(options, &program, &row, &peer)
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
    println!("the host, instructions; others': how many times ours");
    println!("{}", figures::table(&rows));
    let path = figures::write("axalloc-host.json", &rows)?;
    println!("all rows in {}", path.display());
    Ok(())
}

/// Builds the program as `cargo bench` would.
fn build(options: &Options) -> Result<PathBuf, Failure> {
    let target = root().join("target");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "-q", "--profile", "bench", "--package", PACKAGE])
        .args(["--bin", PROGRAM, "--target-dir"])
        .arg(&target)
        .current_dir(root());
    command::show(&cargo, options.verbose);
    if !cargo.status().context("cannot run cargo")?.success() {
        return Err(Failure::reported(1));
    }
    Ok(target.join("release").join(PROGRAM))
}

/// Each row and allocator there is, those of the allocator that does nothing
/// first.
fn list(program: &Path) -> Result<Vec<(String, String)>> {
    let said = said(Command::new(program).output()?)?;
    let pair = |line: &str| {
        let (row, peer) = line.split_once(' ')?;
        Some((row.to_owned(), peer.to_owned()))
    };
    Ok(said.lines().filter_map(pair).collect())
}

/// The instructions of one operation, the load's own part included.
fn operation(options: &Options, program: &Path, row: &str, peer: &str) -> Result<f64> {
    let rounds = rounds(row);
    let (first, some) = count(options, program, row, peer, rounds)?;
    let (second, more) = count(options, program, row, peer, 2 * rounds)?;
    ensure!(second > first && more > some, "it does not count");
    Ok((second - first) as f64 / (more - some) as f64)
}

/// A round of a random row is a whole load; a search for 2 MiB may be long.
fn rounds(row: &str) -> u32 {
    match row {
        "block_2m.pair" => 200,
        _ if row.ends_with(".op") => 2,
        _ => 2000,
    }
}

/// The instructions of a whole run, and its operations.
fn count(
    options: &Options,
    program: &Path,
    row: &str,
    peer: &str,
    rounds: u32,
) -> Result<(u64, u64)> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([row, peer, &rounds.to_string()]);
    command::show(&valgrind, options.verbose);
    let output = valgrind.output().context("cannot run valgrind")?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    let operations = said(output)?.trim().parse()?;
    let instructions = collected(&report).with_context(|| format!("no count in:\n{report}"))?;
    Ok((instructions, operations))
}

/// The standard output of a program that ended well.
fn said(output: Output) -> Result<String> {
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
