//! Prints lines: `say!` on standard output, `say_error!` on standard error. They replace
//! std's macros, which panic when the output is closed: the thread would end, and the
//! other threads of a test run would go on without an output.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::exit;

/// Prints a line on standard output, and ends the process with status 1 if that fails.
/// A closed pipe (`make run | head -1`) ends it silently: the reader has seen enough. Any
/// other error is printed on standard error first.
pub fn say(words: Arguments<'_>) {
    let Err(error) = writeln!(io::stdout().lock(), "{words}") else {
        return;
    };
    if error.kind() != ErrorKind::BrokenPipe {
        say_error(format_args!("cannot write to standard output: {error}"));
    }
    exit(1);
}

/// Prints a line on standard error. An error of the write is ignored.
pub fn say_error(words: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// Formats like [`format!`], and prints the line by [`say`].
macro_rules! say {
    ($($words:tt)*) => { $crate::output::say(format_args!($($words)*)) };
}

/// Formats like [`format!`], and prints the line by [`say_error`].
macro_rules! say_error {
    ($($words:tt)*) => { $crate::output::say_error(format_args!($($words)*)) };
}
