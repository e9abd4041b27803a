//! `fuzz`: runs each fuzz target, which looks for inputs that make the code panic.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::failure::Failure;
use crate::files;
use crate::manifest::root;
use crate::options::{Options, clear_variables};
use crate::toolchain;

/// The names of the fuzz targets (`axmm_machines::targets`).
const TARGETS: [&str; 3] = ["operations", "listing", "objects"];
/// The target that is built with the feature of the same name, memory objects.
const OBJECTS: &str = "objects";
/// The set-up item that installs what fuzzing needs.
const ITEM: &str = "fuzz";
/// The length of the longest input, in bytes.
const MAX_INPUT_LEN: u32 = 4096;
/// The seconds after which an input counts as a crash, because it does not end.
const INPUT_TIMEOUT: u32 = 20;

/// The result of one target's run.
struct RunResult {
    executions: u64,
    /// The path of the input that crashed the target.
    crash: Option<String>,
}

/// Runs each target for an equal part of `TIME`, and prints a line for each and a summary.
///
/// # Errors
///
/// Fails with status 1 if a target has crashed or does not run.
pub fn fuzz(options: &Options) -> Result<(), Failure> {
    let seconds = (options.fuzz_seconds()? / TARGETS.len() as u64).max(1);
    toolchain::set_up(&[ITEM.to_owned()])?;
    for target in TARGETS {
        build(target, options.verbose)?;
    }
    let mut crashes = 0;
    for target in TARGETS {
        let result = run(target, seconds, options.verbose)?;
        match result.crash {
            None => say!(
                "{target:<12}{:>10} executions in {seconds} s, no crash",
                result.executions
            ),
            Some(input) => {
                crashes += 1;
                say!("{target:<12}CRASHED; to run this input again:");
                say!("  {}", command::shell_line(&replay(target, &input)));
            }
        }
    }
    say!("fuzz: {} targets, {crashes} crashed", TARGETS.len());
    match crashes {
        0 => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}

/// Builds a target.
fn build(target: &str, verbose: bool) -> Result<(), Failure> {
    let mut cargo = cargo_fuzz("build", target);
    command::show(&cargo, verbose);
    command::run(&mut cargo)
}

/// Runs a target. It starts from the inputs in `target/fuzz/corpus` and `fuzz/corpus`, and
/// adds new ones to the former.
fn run(target: &str, seconds: u64, verbose: bool) -> Result<RunResult> {
    let kept = root().join("target/fuzz/corpus").join(target);
    files::make_folder(&kept)?;
    let mut cargo = cargo_fuzz("run", target);
    cargo.arg(kept);
    cargo.arg(root().join("fuzz/corpus").join(target));
    cargo.arg("--");
    let dictionary = root().join(format!("fuzz/{target}.dict"));
    if dictionary.is_file() {
        cargo.arg(format!("-dict={}", dictionary.display()));
    }
    cargo
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_INPUT_LEN}"))
        .arg(format!("-timeout={INPUT_TIMEOUT}"))
        .arg("-print_final_stats=1");
    command::show(&cargo, verbose);
    let output = cargo.output().context("cannot run rustup")?;
    let output_text = String::from_utf8_lossy(&output.stderr);
    let executions = executions(&output_text);
    match (output.status.success(), executions, crash(&output_text)) {
        (true, Some(executions), None) => Ok(RunResult {
            executions,
            crash: None,
        }),
        (_, executions, Some(input)) => {
            say!("{}", panic_message(&output_text));
            Ok(RunResult {
                executions: executions.unwrap_or_default(),
                crash: Some(input),
            })
        }
        _ => bail!(
            "fuzz target {target} did not run: {}\n{output_text}",
            output.status
        ),
    }
}

/// Returns the command that runs a target on one input.
fn replay(target: &str, input: &str) -> Command {
    let mut cargo = cargo_fuzz("run", target);
    cargo.arg(input);
    cargo
}

/// Returns `cargo fuzz VERB TARGET` with the nightly compiler, and without this run's variables.
/// Targets have no sanitizer: AddressSanitizer keeps its shadow memory at addresses that the
/// kernel's own memory has, and does not know that memory.
fn cargo_fuzz(verb: &str, target: &str) -> Command {
    let mut cargo = command::nightly_cargo();
    cargo
        .args(["fuzz", verb])
        .args(["--sanitizer", "none", "--fuzz-dir"])
        .arg(root().join("fuzz"))
        .arg("--target-dir")
        .arg(root().join("target/fuzz/build"));
    if target == OBJECTS {
        cargo.args(["--features", OBJECTS]);
    }
    cargo.arg(target);
    // Without this, the fuzzer that cargo starts would go on after cargo was killed.
    cargo.envs(command::runner_variable());
    clear_variables(&mut cargo);
    cargo
}

/// Returns the number of inputs tried, from libFuzzer's statistics.
fn executions(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    number.trim().parse().ok()
}

/// Returns the path of the crashing input, from libFuzzer's output.
fn crash(text: &str) -> Option<String> {
    let (_, path) = text.rsplit_once("Test unit written to ")?;
    path.lines().next().map(str::to_owned)
}

/// Returns the panic's message from libFuzzer's output, without the backtrace.
fn panic_message(text: &str) -> &str {
    let begin = text.find("panicked at").unwrap_or_default();
    let begin = text[..begin].rfind('\n').map_or(0, |newline| newline + 1);
    let message = &text[begin..];
    let ends = ["\nstack backtrace:", "\n=="].map(|end| message.find(end));
    message[..ends.into_iter().flatten().min().unwrap_or(message.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASHED: &str = "INFO: Seed: 1\n#2\tINITED\nthread '<unnamed>' panicked at x.rs:1:1:\nno\n\
        stack backtrace:\n   0: x\n==1== ERROR: libFuzzer: deadly signal\n\
        artifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: x\n\
        stat::number_of_executed_units: 12\n";

    #[test]
    fn libfuzzer_s_output_is_parsed() {
        assert_eq!(executions(CRASHED), Some(12));
        assert_eq!(crash(CRASHED).as_deref(), Some("/a/crash-1"));
        assert_eq!(
            panic_message(CRASHED),
            "thread '<unnamed>' panicked at x.rs:1:1:\nno"
        );
        assert_eq!((executions("#1"), crash("#1")), (None, None));
    }

    #[test]
    fn each_target_has_a_program_and_a_corpus() {
        for target in TARGETS {
            let program = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(program.is_file(), "{target}");
            assert!(root().join("fuzz/corpus").join(target).is_dir(), "{target}");
        }
    }
}
