//! Lines for the caller: `say!` on standard output, `complain!` on standard error. std's
//! macros panic where nothing can be written, and the other threads of a test run would
//! go on without a word.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::exit;

/// Prints a line on standard output. Ends the process if that cannot be written: a
/// reader that is gone has seen enough; all else is told on standard error.
pub fn say(words: Arguments<'_>) {
    let Err(error) = writeln!(io::stdout().lock(), "{words}") else {
        return;
    };
    if error.kind() != ErrorKind::BrokenPipe {
        complain(format_args!("cannot write to standard output: {error}"));
    }
    exit(1);
}

/// Prints a line on standard error, if it can be written.
pub fn complain(words: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// [`say`], of what [`format!`] takes.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::say(format_args!($($words)*)) };
}

/// [`complain`], of what [`format!`] takes.
macro_rules! complain {
    ($($words:tt)*) => { $crate::output::complain(format_args!($($words)*)) };
}
