//! Runs other programs. They end when this process ends, can be shown in the form that a
//! shell takes, and a failure is reported.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;

use anyhow::Context;

use crate::failure::Failure;
use crate::toolchain::SEPARATOR;

/// What stands in front of a command, so that Linux sends its process a SIGTERM when the
/// thread that started it ends. That also works after `kill -9`.
const END_WITH_PARENT: [&str; 3] = ["setpriv", "--pdeathsig", "TERM"];

/// Returns a command whose process ends when this one ends, provided that util-linux's
/// `setpriv` is installed. The thread that starts it must also wait for it: Linux sends
/// the signal when the starting thread ends.
pub fn new(program: impl AsRef<OsStr>) -> Command {
    if !has_setpriv() {
        return Command::new(program);
    }
    let mut command = Command::new(END_WITH_PARENT[0]);
    command.args(&END_WITH_PARENT[1..]).arg(program);
    command
}

/// Returns the environment variable, and its value, that make cargo start tests by
/// [`END_WITH_PARENT`]. `None` on a computer whose target is not known here, or without
/// `setpriv`.
pub fn runner_variable() -> Option<(&'static str, String)> {
    let variable = match env::consts::ARCH {
        "x86_64" => "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
        "aarch64" => "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
        _ => return None,
    };
    has_setpriv().then(|| (variable, END_WITH_PARENT.join(" ")))
}

/// Returns whether `setpriv` is there and has that option. busybox's has not.
fn has_setpriv() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let mut probe = Command::new(END_WITH_PARENT[0]);
        probe.args(&END_WITH_PARENT[1..]).arg("true");
        let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

/// The path of Debian's cargo, which is only used with Debian's rustc.
pub const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Returns the cargo that has built this program: the one on PATH, or Debian's.
/// `scripts/setup.sh` chooses Debian's where the one on PATH fails.
pub fn cargo() -> Command {
    match env::var_os("CARGO") {
        Some(cargo) if cargo == DEBIAN_CARGO => new(DEBIAN_CARGO),
        _ => new("cargo"),
    }
}

/// Returns rustup's nightly cargo. The variables by which the cargo that has built this
/// program names itself and its compiler are removed: they would select that compiler.
pub fn nightly_cargo() -> Command {
    let mut cargo = new("rustup");
    cargo.args(["run", "nightly", "cargo"]);
    for name in ["CARGO", "RUSTC", "RUSTDOC"] {
        cargo.env_remove(name);
    }
    cargo
}

/// Runs a command that prints its own errors on standard error.
///
/// # Errors
///
/// Fails if the program cannot be started, or does not succeed. If a signal has ended it, the
/// message names the signal, since the program may have printed nothing.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let program = words_of(command).remove(0);
    let status = command.status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    match status.signal() {
        _ if status.success() => Ok(()),
        None => Err(Failure::reported(1)),
        Some(_) => {
            let message = format!("{program} was ended by {}", describe_status(status));
            Err(Failure::with_status(1, message))
        }
    }
}

/// Runs cargo without printing anything.
///
/// # Errors
///
/// Fails if cargo cannot be started, or does not succeed. The message holds its output.
pub fn run_cargo_quietly(cargo: &mut Command) -> Result<(), Failure> {
    let output = cargo.output().context("cannot run cargo")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let cause = describe_status(output.status);
    Err(Failure::with_status(1, format!("{words}cargo: {cause}")))
}

/// Returns how a process ended: `exit status 1`, `signal 6 (SIGABRT)`.
pub fn describe_status(status: ExitStatus) -> String {
    let words = status.to_string().replacen(": ", " ", 1);
    words.trim_end_matches(" (core dumped)").to_owned()
}

/// Returns a command's standard output, followed by its standard error.
pub fn all_output(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

/// Shows a command on standard error if `verbose`.
pub fn show(command: &Command, verbose: bool) {
    if verbose {
        say_error!("+ {}", shell_line(command));
    }
}

/// Returns the command as one line that a shell takes, with its environment in front.
pub fn shell_line(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        // The encoded form holds control characters, so the plain variable is shown.
        if name == "CARGO_ENCODED_RUSTFLAGS" {
            let flags = value?.to_string_lossy().replace(SEPARATOR, " ");
            return Some(format!("RUSTFLAGS={}", quoted(&flags)));
        }
        Some(format!(
            "{}={}",
            name.to_string_lossy(),
            quoted(&value?.to_string_lossy())
        ))
    });
    let words = words_of(command);
    set.chain(words.iter().map(|word| quoted(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the program and its arguments, without [`END_WITH_PARENT`].
fn words_of(command: &Command) -> Vec<String> {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let mut words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if words.starts_with(&END_WITH_PARENT.map(str::to_owned)) {
        words.drain(..END_WITH_PARENT.len());
    }
    words
}

/// Returns the word, in quotes if it holds characters that a shell gives a meaning to.
pub fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_=+,./:@%".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;

    #[test]
    fn a_command_line_is_quoted_for_a_shell() {
        let mut command = new("cargo");
        command
            .env("RUSTFLAGS", "-a -b")
            .args(["build", "it's", ""]);
        assert_eq!(
            shell_line(&command),
            r"RUSTFLAGS='-a -b' cargo build 'it'\''s' ''"
        );
    }

    /// `kill -9` ends all threads of a process, so the end of one thread tests it.
    #[test]
    fn a_command_ends_with_the_thread_that_started_it() {
        if !has_setpriv() {
            return;
        }
        let start = || {
            let mut sleeper = new("sh");
            sleeper.args(["-c", "echo ready; exec sleep 100"]);
            let mut sleeper = sleeper.stdout(Stdio::piped()).spawn().unwrap();
            let mut ready = [0; 6];
            sleeper
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut ready)
                .unwrap();
            sleeper
        };
        let mut sleeper = thread::spawn(start).join().unwrap();
        assert_eq!(
            describe_status(sleeper.wait().unwrap()),
            "signal 15 (SIGTERM)"
        );
    }

    #[test]
    fn the_failure_of_a_killed_command_names_its_signal() {
        let sh = |script| run(new("sh").args(["-c", script]));
        let failure = sh("kill -9 $$").unwrap_err();
        assert_eq!(failure.to_string(), "sh was ended by signal 9 (SIGKILL)");
        assert!(sh("exit 7").unwrap_err().is_reported());
        assert!(sh("exit 0").is_ok());
        let failure = run(&mut Command::new("/nonexistent/program")).unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("cannot run /nonexistent/program")
        );
    }
}
