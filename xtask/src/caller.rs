//! Ends xtask when the process that called it, make, has ended.
//!
//! make passes a SIGTERM on to its children. But it ends without signalling them
//! after `kill -9`, or when its terminal is closed. So xtask looks for it every [`INTERVAL`].

use std::io::{self, IsTerminal};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// The argument that gives the caller's process id.
const ARGUMENT: &str = "--child-of=";

/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// Returns the process id in an argument `--child-of=ID`, and `None` for any other
/// argument.
///
/// # Errors
///
/// Fails if what follows `--child-of=` is not a process id.
pub fn parse_argument(argument: &str) -> Result<Option<u32>, Failure> {
    let Some(id) = argument.strip_prefix(ARGUMENT) else {
        return Ok(None);
    };
    let id = id.parse().map_err(|_| {
        Failure::usage(format!(
            "{argument}: not a process id; valid: a number, as in {ARGUMENT}17"
        ))
    })?;
    Ok(Some(id))
}

/// Starts a thread that ends this process when the process `caller` has ended or the terminal
/// that this process prints on is closed. What this process has started ends with it
/// ([`command::new`](crate::command::new)).
pub fn watch(caller: u32) {
    let (parent, on_terminal) = (parent_id(), prints_on_terminal());
    let process = PathBuf::from(format!("/proc/{caller}"));
    // When the caller ends, `parent_id()` changes. If it has ended already, while xtask was
    // being built, this process began with another parent. So the caller is also looked up
    // in /proc. Without /proc only the parent is watched.
    let is_there = move || !Path::new("/proc/self").exists() || process.exists();
    thread::spawn(move || {
        while parent_id() == parent && is_there() {
            if on_terminal && !prints_on_terminal() {
                // The terminal was closed, and with it the place for a message.
                exit(1);
            }
            thread::sleep(INTERVAL);
        }
        say_error!("xtask stops: process {caller}, which called it, has ended");
        exit(1);
    });
}

fn prints_on_terminal() -> bool {
    io::stdout().is_terminal() || io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_given_by_its_process_id() {
        assert_eq!(parse_argument("--child-of=17").unwrap(), Some(17));
        assert_eq!(parse_argument("run").unwrap(), None);
        for argument in ["--child-of=", "--child-of=make", "--child-of=-1"] {
            assert_eq!(
                parse_argument(argument).unwrap_err().status(),
                2,
                "{argument}"
            );
        }
    }
}
