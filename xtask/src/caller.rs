//! The process that has called this one, make. It tells its children nothing when it is
//! killed, or when its terminal is closed, so they look.

use std::io::{self, IsTerminal};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// The argument that names it, by its process id.
const ARGUMENT: &str = "--child-of=";

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(250);

/// The caller that `argument` names, if it is the argument for that.
///
/// # Errors
///
/// It names no process id.
pub fn named(argument: &str) -> Result<Option<u32>, Failure> {
    let Some(id) = argument.strip_prefix(ARGUMENT) else {
        return Ok(None);
    };
    let id = id
        .parse()
        .map_err(|_| Failure::usage(format!("{argument}: not a process id; valid: a number")))?;
    Ok(Some(id))
}

/// Ends this process when `caller` is gone, or the terminal that it prints on. What this
/// process has started ends with it ([`command::new`](crate::command::new)).
pub fn end_with(caller: u32) {
    let (parent, on_terminal) = (parent_id(), prints_on_terminal());
    let process = PathBuf::from(format!("/proc/{caller}"));
    // Without Linux's /proc the parent alone tells. It may be a program between the two.
    let is_there = move || !Path::new("/proc/self").exists() || process.exists();
    thread::spawn(move || {
        while parent_id() == parent && is_there() {
            if on_terminal && !prints_on_terminal() {
                // A terminal that was closed is none any more.
                exit(1);
            }
            thread::sleep(INTERVAL);
        }
        complain!("process {caller}, which called, is gone: stopped");
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
    fn a_caller_is_named_by_a_number() {
        assert_eq!(named("--child-of=17").unwrap(), Some(17));
        assert_eq!(named("run").unwrap(), None);
        for argument in ["--child-of=", "--child-of=make", "--child-of=-1"] {
            assert_eq!(named(argument).unwrap_err().status(), 2, "{argument}");
        }
    }
}
