//! `fuzz`: lets each fuzz target look for inputs that break something.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::failure::Failure;
use crate::files;
use crate::manifest::root;
use crate::matrix::forget_variables;
use crate::options::Options;
use crate::toolchain;

/// The fuzz targets (`axmm_machines::targets`).
const TARGETS: [&str; 2] = ["operations", "listing"];
/// The set-up item that brings what fuzzing takes.
const ITEM: &str = "fuzz";
/// The longest input, in bytes.
const LONGEST: u32 = 4096;
/// An input that takes longer, in seconds, counts as one that never ends.
const PATIENCE: u32 = 20;

/// What a target has done.
struct Found {
    executions: u64,
    /// The input that broke something.
    crash: Option<String>,
}

/// Runs the targets, each an equal part of `TIME`, and sums up.
pub fn fuzz(options: &Options) -> Result<(), Failure> {
    let seconds = (options.seconds()? / TARGETS.len() as u64).max(1);
    toolchain::set_up(&[ITEM.to_owned()])?;
    build(options.verbose)?;
    let mut crashes = 0;
    for target in TARGETS {
        let found = run(target, seconds, options.verbose)?;
        match found.crash {
            None => say!(
                "{target:<12}{:>10} executions in {seconds} s, no crash",
                found.executions
            ),
            Some(input) => {
                crashes += 1;
                say!("{target:<12}CRASHED; again with");
                say!("  {}", command::line(&replay(target, &input)));
            }
        }
    }
    say!("fuzz: {} targets, {crashes} crashed", TARGETS.len());
    match crashes {
        0 => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}

/// Builds all targets. No sanitizer: memory is the kernel's own, of which they know
/// nothing, and it lies where theirs would be.
fn build(verbose: bool) -> Result<(), Failure> {
    let mut cargo = cargo_fuzz("build");
    command::show(&cargo, verbose);
    command::run(&mut cargo)
}

/// Runs a target. What it finds worth keeping goes to `target/fuzz/corpus`; it
/// begins with that and with what the repository has.
fn run(target: &str, seconds: u64, verbose: bool) -> Result<Found> {
    let kept = root().join("target/fuzz/corpus").join(target);
    files::make_folder(&kept)?;
    let mut cargo = cargo_fuzz("run");
    cargo.arg(target).arg(kept);
    cargo.arg(root().join("fuzz/corpus").join(target));
    cargo.arg("--");
    let dictionary = root().join(format!("fuzz/{target}.dict"));
    if dictionary.is_file() {
        cargo.arg(format!("-dict={}", dictionary.display()));
    }
    cargo
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg("-print_final_stats=1");
    command::show(&cargo, verbose);
    let output = cargo.output().context("cannot run rustup")?;
    let words = String::from_utf8_lossy(&output.stderr);
    let executions = executions(&words);
    match (output.status.success(), executions, crash(&words)) {
        (true, Some(executions), None) => Ok(Found {
            executions,
            crash: None,
        }),
        (_, executions, Some(input)) => {
            say!("{}", report(&words));
            Ok(Found {
                executions: executions.unwrap_or_default(),
                crash: Some(input),
            })
        }
        _ => bail!("{target} did not run: {}\n{words}", output.status),
    }
}

fn replay(target: &str, input: &str) -> Command {
    let mut cargo = cargo_fuzz("run");
    cargo.args([target, input]);
    cargo
}

/// `cargo fuzz` by a nightly compiler, undisturbed by this run's variables.
fn cargo_fuzz(verb: &str) -> Command {
    let mut cargo = command::nightly_cargo();
    cargo
        .args(["fuzz", verb])
        .args(["--sanitizer", "none", "--fuzz-dir"])
        .arg(root().join("fuzz"))
        .arg("--target-dir")
        .arg(root().join("target/fuzz/build"));
    // A fuzzer that cargo has started would outlive it.
    cargo.envs(command::runner());
    forget_variables(&mut cargo);
    cargo
}

/// How many inputs were tried, by libFuzzer's statistics.
fn executions(words: &str) -> Option<u64> {
    let mut lines = words.lines();
    let number = lines.find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    number.trim().parse().ok()
}

/// Where libFuzzer has put the input that broke something.
fn crash(words: &str) -> Option<String> {
    let (_, path) = words.rsplit_once("Test unit written to ")?;
    path.lines().next().map(str::to_owned)
}

/// What was said from the panic on, up to what libFuzzer adds.
fn report(words: &str) -> &str {
    let begin = words.find("panicked at").unwrap_or_default();
    let begin = words[..begin].rfind('\n').map_or(0, |newline| newline + 1);
    let said = &words[begin..];
    let ends = ["\nstack backtrace:", "\n=="].map(|end| said.find(end));
    said[..ends.into_iter().flatten().min().unwrap_or(said.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASHED: &str = "INFO: Seed: 1\n#2\tINITED\nthread '<unnamed>' panicked at x.rs:1:1:\nno\n\
        stack backtrace:\n   0: x\n==1== ERROR: libFuzzer: deadly signal\n\
        artifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: x\n\
        stat::number_of_executed_units: 12\n";

    #[test]
    fn what_libfuzzer_says_is_understood() {
        assert_eq!(executions(CRASHED), Some(12));
        assert_eq!(crash(CRASHED).as_deref(), Some("/a/crash-1"));
        assert_eq!(
            report(CRASHED),
            "thread '<unnamed>' panicked at x.rs:1:1:\nno"
        );
        assert_eq!((executions("#1"), crash("#1")), (None, None));
    }

    #[test]
    fn each_target_is_there() {
        for target in TARGETS {
            let program = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(program.is_file(), "{target}");
            assert!(root().join("fuzz/corpus").join(target).is_dir(), "{target}");
        }
    }
}
