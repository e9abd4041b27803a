//! Values that no variable takes, and what is said of them.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::failure::USAGE;
use crate::manifest::root;
use crate::options::NAMES;

use super::tally::Verdict;

/// Values that no variable takes.
pub const WRONG: [(&str, &str); 12] = [
    ("ARCH", "mips"),
    ("A", "apps/none"),
    ("SMP", "0"),
    ("SMP", "999"),
    ("MEM", "12x"),
    ("MEM", "1K"),
    ("MODE", "fast"),
    ("LOG", "loud"),
    ("ACCEL", "hvf"),
    ("TIMEOUT", "-1"),
    ("FEATURES", "nosuch"),
    ("APP_FEATURES", "nosuch"),
];

/// The program that runs this. Linux has it even when its file has been replaced: the
/// host's tests, which are built before, build xtask anew.
fn this_program() -> Result<PathBuf, String> {
    let running = PathBuf::from("/proc/self/exe");
    match running.exists() {
        true => Ok(running),
        false => env::current_exe().map_err(|error| error.to_string()),
    }
}

/// Whether a wrong value of a variable is refused by name.
pub fn refused(name: &str, value: &str) -> Verdict {
    let mut command = Command::new(this_program()?);
    forget_variables(&mut command);
    let output = command
        .arg("run")
        .env(name, value)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(i32::from(USAGE)) {
        return Err(format!(
            "{}, not status {USAGE}\n{}",
            output.status,
            said(&output)
        ));
    }
    names_it(&words, name, value)?;
    if words.lines().count() != 1 || !output.stdout.is_empty() {
        return Err(format!("not one line:\n{}", said(&output)));
    }
    Ok(String::new())
}

fn names_it(words: &str, name: &str, value: &str) -> Result<(), String> {
    let first = words.lines().next().unwrap_or_default();
    if first.starts_with(&format!("{name}={value}: ")) && first.contains("valid") {
        return Ok(());
    }
    Err(format!(
        "the first line does not name the value and the valid ones:\n{words}"
    ))
}

/// The same from make's door: nothing but make's own line follows.
pub fn refused_by_make() -> Verdict {
    let mut make = Command::new("make");
    forget_variables(&mut make);
    let output = make
        .args(["ARCH=mips", "run"])
        .current_dir(root())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    names_it(&words, "ARCH", "mips")?;
    if output.status.success() || words.lines().skip(1).any(|line| !line.starts_with("make")) {
        return Err(format!("{}\n{}", output.status, said(&output)));
    }
    Ok(String::new())
}

/// Lets a command not see the variables of this run.
pub fn forget_variables(command: &mut Command) {
    for name in NAMES
        .into_iter()
        .chain(["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS"])
    {
        command.env_remove(name);
    }
}

/// All that a command has printed.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}
