//! Printing to the console.
//!
//! The application prints with [`ax_print!`]. The kernel logs with [`error!`] to [`trace!`],
//! which use the crate `log`. An image contains only the log lines of the levels that it was
//! built to print. The output of one call stays in one piece, even if other threads and
//! harts print at the same time ([`ConsoleGuard`]).
//!
//! Locks: a caller holds the console ([`ConsoleGuard`]) while arbitrary `Display` code runs.
//! Inside that, the platform's own console lock is taken. No lock is taken inside that one.
#![no_std]

mod console;

use log::{LevelFilter, Log, Metadata, Record};

#[doc(hidden)]
pub use console::print;
pub use console::{
    ConsoleGuard, end_line, has_console, seize_console, stop_if_taken, take_console,
};
#[doc(hidden)]
pub use log;
pub use log::Level;

/// What the console asks about the code that prints. `axruntime` implements it.
#[crate_interface::def_interface(gen_caller)]
pub trait LogIf {
    /// Returns the kernel's number of the calling hart.
    fn hart() -> usize;

    /// Returns a unique number of the calling thread, or of the hart if it runs no threads.
    /// The number is never 0.
    fn owner() -> usize;

    /// Waits a little for the console's owner to finish its line. `attempt` counts the calls
    /// of one wait from 0. Returns whether waiting longer can help.
    fn wait(attempt: usize) -> bool;

    /// Stops the calling hart for good. Another hart reports how the machine ends.
    fn stop() -> !;
}

/// Prints to the console, with arguments like those of `format!`.
#[macro_export]
macro_rules! ax_print {
    ($($arg:tt)*) => { $crate::print(format_args!($($arg)*)) };
}

/// Prints a line to the console, with arguments like those of `format!`.
#[macro_export]
macro_rules! ax_println {
    () => { $crate::ax_print!("\n") };
    ($($arg:tt)*) => { $crate::ax_print!("{}\n", format_args!($($arg)*)) };
}

/// Logs at a level, if the image was built to print that level.
#[doc(hidden)]
#[macro_export]
macro_rules! log_at {
    ($level:ident, $($arg:tt)*) => {
        if $crate::enabled($crate::Level::$level) {
            $crate::log::log!($crate::Level::$level, $($arg)*)
        }
    };
}

/// Logs a failure that the kernel cannot recover from.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log_at!(Error, $($arg)*) };
}

/// Logs a problem that a person should look into.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log_at!(Warn, $($arg)*) };
}

/// Logs a step of normal operation.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log_at!(Info, $($arg)*) };
}

/// Logs a detail that helps to find a bug.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log_at!(Debug, $($arg)*) };
}

/// Logs each small step.
#[macro_export]
macro_rules! trace {
    ($($arg:tt)*) => { $crate::log_at!(Trace, $($arg)*) };
}

/// The level that the image was built with: `LOG=` of the build, or else `warn`.
const LEVEL: LevelFilter = level_named(option_env!("AX_LOG"));

const fn level_named(name: Option<&str>) -> LevelFilter {
    match name {
        Some(name) => match name.as_bytes() {
            b"off" => LevelFilter::Off,
            b"error" => LevelFilter::Error,
            b"info" => LevelFilter::Info,
            b"debug" => LevelFilter::Debug,
            b"trace" => LevelFilter::Trace,
            _ => LevelFilter::Warn,
        },
        None => LevelFilter::Warn,
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= LEVEL
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = axplat::time::monotonic_time();
        // All numbers are printed as `usize`, because each other type would add its
        // formatting code to the image.
        let colour: usize = match record.level() {
            Level::Error => 31,
            Level::Warn => 33,
            Level::Info => 32,
            Level::Debug => 36,
            Level::Trace => 90,
        };
        print(format_args!(
            "\u{1B}[{colour}m[{:3}.{:06} {} {}] {}\u{1B}[m\n",
            now.as_secs() as usize,
            now.subsec_micros() as usize,
            hart(),
            record.target(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// Returns whether the image was built to print lines of `level`. It is a constant, so the
/// compiler removes code that serves only lines that are not printed.
pub const fn enabled(level: Level) -> bool {
    level as usize <= LEVEL as usize
}

/// Makes the macros of the crate `log` print to the console. Until then they do nothing.
pub fn init() {
    if LEVEL != LevelFilter::Off && log::set_logger(&Logger).is_ok() {
        log::set_max_level(LEVEL);
    }
}
