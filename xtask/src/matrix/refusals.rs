//! Checks that xtask and make refuse wrong values of variables, in a message that names the
//! value and the valid ones.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::command::all_output;
use crate::failure::USAGE;
use crate::manifest::root;
use crate::options::clear_variables;

use super::tally::Verdict;

/// Variables, each with a value that it does not take.
pub const WRONG_VALUES: [(&str, &str); 12] = [
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

/// Returns the path of the running program. Linux's /proc opens it even after its file was
/// replaced, which the host tests do: they build xtask.
fn this_program() -> Result<PathBuf, String> {
    let running = PathBuf::from("/proc/self/exe");
    match running.exists() {
        true => Ok(running),
        false => env::current_exe().map_err(|error| error.to_string()),
    }
}

/// Checks that `xtask run` refuses the value with status 2 and one line that names it.
pub fn refused(name: &str, value: &str) -> Verdict {
    let mut command = Command::new(this_program()?);
    clear_variables(&mut command);
    let output = command
        .arg("run")
        .env(name, value)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(i32::from(USAGE)) {
        return Err(format!(
            "{}; expected exit status {USAGE}\n{}",
            output.status,
            all_output(&output)
        ));
    }
    names_it(&words, name, value)?;
    if words.lines().count() != 1 || !output.stdout.is_empty() {
        return Err(format!(
            "expected one line on standard error:\n{}",
            all_output(&output)
        ));
    }
    Ok(String::new())
}

fn names_it(words: &str, name: &str, value: &str) -> Result<(), String> {
    let first = words.lines().next().unwrap_or_default();
    if first.starts_with(&format!("{name}={value}: ")) && first.contains("valid") {
        return Ok(());
    }
    Err(format!(
        "the first line should begin with `{name}={value}: ` and name the valid values:\n{words}"
    ))
}

/// Checks that `make ARCH=mips run` fails with the line that names the value, followed only
/// by make's own line.
pub fn refused_by_make() -> Verdict {
    let mut make = Command::new("make");
    clear_variables(&mut make);
    let output = make
        .args(["ARCH=mips", "run"])
        .current_dir(root())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    names_it(&words, "ARCH", "mips")?;
    if output.status.success() || words.lines().skip(1).any(|line| !line.starts_with("make")) {
        return Err(format!("{}\n{}", output.status, all_output(&output)));
    }
    Ok(String::new())
}
