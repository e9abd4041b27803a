//! Commands: they end with this process, are shown as a person would type them, and
//! their failure is told.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use anyhow::Context;

use crate::failure::Failure;
use crate::toolchain::SEPARATOR;

/// The words in front of a command that let Linux send its process a SIGTERM when the
/// thread that started it is gone, also by `kill -9`.
const ENDING: [&str; 3] = ["setpriv", "--pdeathsig", "TERM"];

/// A command whose process ends with this one, where there is util-linux's `setpriv`.
/// The thread that starts it must be the one that waits for it.
pub fn new(program: impl AsRef<OsStr>) -> Command {
    if !can_end() {
        return Command::new(program);
    }
    let mut command = Command::new(ENDING[0]);
    command.args(&ENDING[1..]).arg(program);
    command
}

/// What cargo is told so that the programs it runs end with it: a variable of its
/// environment and the value.
pub fn runner() -> Option<(&'static str, String)> {
    let variable = match env::consts::ARCH {
        "x86_64" => "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
        "aarch64" => "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
        _ => return None,
    };
    can_end().then(|| (variable, ENDING.join(" ")))
}

/// Whether there is a `setpriv` with that option: busybox has one without it.
fn can_end() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut probe = Command::new(ENDING[0]);
        probe.args(&ENDING[1..]).arg("true");
        let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

/// Debian's cargo, which belongs to Debian's rustc.
pub const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// The cargo on PATH, or Debian's if that has built this program: then the one on PATH
/// fails (`scripts/xtask.sh`).
pub fn cargo() -> Command {
    match env::var_os("CARGO") {
        Some(cargo) if cargo == DEBIAN_CARGO => new(DEBIAN_CARGO),
        _ => new("cargo"),
    }
}

/// rustup's nightly cargo, whichever cargo has built this program.
pub fn nightly_cargo() -> Command {
    let mut cargo = new("rustup");
    cargo.args(["run", "nightly", "cargo"]);
    for name in ["CARGO", "RUSTC", "RUSTDOC"] {
        cargo.env_remove(name);
    }
    cargo
}

/// Runs a command that tells its failure itself, on standard error. One that was
/// killed may have told nothing, so the signal is told here.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let program = words(command).remove(0);
    let status = command.status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    match status.signal() {
        _ if status.success() => Ok(()),
        None => Err(Failure::reported(1)),
        Some(_) => {
            let message = format!("{program} was ended by {}", cause(status));
            Err(Failure::with_status(1, message))
        }
    }
}

/// How a process ended: `exit status 1`, `signal 6 (SIGABRT)`.
pub fn cause(status: ExitStatus) -> String {
    let words = status.to_string().replacen(": ", " ", 1);
    words.trim_end_matches(" (core dumped)").to_owned()
}

/// Shows a command on standard error if `verbose`.
pub fn show(command: &Command, verbose: bool) {
    if verbose {
        complain!("+ {}", line(command));
    }
}

/// The command in one line, its environment in front.
pub fn line(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        // The same flags in the form that can be typed.
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
    let words = words(command);
    set.chain(words.iter().map(|word| quoted(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The program and its arguments, as a person would type them.
fn words(command: &Command) -> Vec<String> {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let mut words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if words.starts_with(&ENDING.map(str::to_owned)) {
        words.drain(..ENDING.len());
    }
    words
}

/// In quotes where a shell would read it otherwise.
fn quoted(word: &str) -> String {
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
    fn a_shell_could_read_it() {
        let mut command = new("cargo");
        command
            .env("RUSTFLAGS", "-a -b")
            .args(["build", "it's", ""]);
        assert_eq!(
            line(&command),
            r"RUSTFLAGS='-a -b' cargo build 'it'\''s' ''"
        );
    }

    /// As at the end of the process by `kill -9`, where all its threads are gone.
    #[test]
    fn a_command_ends_with_the_thread_that_started_it() {
        if !can_end() {
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
        assert_eq!(cause(sleeper.wait().unwrap()), "signal 15 (SIGTERM)");
    }

    #[test]
    fn a_killed_command_is_told_with_its_signal() {
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
