//! Lines on the console.
//!
//! [`ax_print!`] writes for the application; [`error!`] to [`trace!`] for the
//! kernel, by way of the crate `log`. A line of a level that the image was not
//! built to print is not in the image. What one call prints comes out in one piece,
//! whichever threads and harts print at the same time ([`Turn`]).
//!
//! Locks: the console's owner, which is held while arbitrary `Display` code runs; inside
//! it the console's own lock in the platform, a leaf.
#![no_std]

mod console;

use log::{LevelFilter, Log, Metadata, Record};

#[doc(hidden)]
pub use console::print;
pub use console::{Turn, end_line, has_console, seize_console, stop_if_taken, take_console};
#[doc(hidden)]
pub use log;
pub use log::Level;

/// What the console must know of whatever prints.
#[crate_interface::def_interface(gen_caller)]
pub trait LogIf {
    /// The kernel's number of the hart that runs this.
    fn hart() -> usize;

    /// A number for the thread that runs this, or for its hart where it runs no threads:
    /// never 0, and no other's.
    fn owner() -> usize;

    /// Waits a little, for the `turn`th time, for another owner to finish its line. Returns
    /// whether waiting longer can help.
    fn wait(turn: usize) -> bool;

    /// Stops the hart that runs this for good: another one says the machine's last words.
    fn stop() -> !;
}

/// Prints to the console.
#[macro_export]
macro_rules! ax_print {
    ($($arg:tt)*) => { $crate::print(format_args!($($arg)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! ax_println {
    () => { $crate::ax_print!("\n") };
    ($($arg:tt)*) => { $crate::ax_print!("{}\n", format_args!($($arg)*)) };
}

/// Logs at a level, if the image was built to.
#[doc(hidden)]
#[macro_export]
macro_rules! log_at {
    ($level:ident, $($arg:tt)*) => {
        if $crate::enabled($crate::Level::$level) {
            $crate::log::log!($crate::Level::$level, $($arg)*)
        }
    };
}

/// Logs what has gone wrong and cannot be helped.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log_at!(Error, $($arg)*) };
}

/// Logs what a person should look into.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log_at!(Warn, $($arg)*) };
}

/// Logs the course of things.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log_at!(Info, $($arg)*) };
}

/// Logs what helps to find a fault.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log_at!(Debug, $($arg)*) };
}

/// Logs every step.
#[macro_export]
macro_rules! trace {
    ($($arg:tt)*) => { $crate::log_at!(Trace, $($arg)*) };
}

/// The level the image was built with: `LOG=` of the build, `warn` without.
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
        // Numbers are printed as `usize`: an image has code for each type it prints.
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

/// Whether the image was built to print lines of `level`: a constant, so that
/// what only serves such lines is not linked where they are not printed.
pub const fn enabled(level: Level) -> bool {
    level as usize <= LEVEL as usize
}

/// Makes the macros of the crate `log` print. Before that they do nothing.
pub fn init() {
    if LEVEL != LevelFilter::Off && log::set_logger(&Logger).is_ok() {
        log::set_max_level(LEVEL);
    }
}
