//! Lines on the console.
//!
//! [`ax_print!`] writes for the application; [`error!`] to [`trace!`] for the
//! kernel, by way of the crate `log`. A line of a level that the image was not
//! built to print is not in the image. What one call prints comes out in one piece, whichever harts
//! print at the same time.
//!
//! Locks: `PRINTING`; inside it the console's own in the platform, and, where what
//! is printed has yet to be mapped, the kernel's address space. So nobody prints
//! with the address space locked.
#![no_std]

use core::fmt::{self, Arguments, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use kspin::{SpinNoIrq, SpinNoIrqGuard};
use log::{LevelFilter, Log, Metadata, Record};

#[doc(hidden)]
pub use log;
pub use log::Level;

/// What a log line says about who wrote it.
#[crate_interface::def_interface(gen_caller)]
pub trait LogIf {
    /// The kernel's number of the hart that runs this.
    fn hart() -> usize;

    /// One turn of waiting for another hart's line to end, interrupts being out:
    /// what others may ask of a hart that waits is done here.
    fn wait_a_turn();
}

static PRINTING: SpinNoIrq<()> = SpinNoIrq::new(());

/// No hart has taken the console over.
const NOBODY: usize = usize::MAX;
static TAKEN_BY: AtomicUsize = AtomicUsize::new(NOBODY);

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        axplat::console::write_bytes(text.as_bytes());
        Ok(())
    }
}

/// Prints in one piece. The macros call this.
#[doc(hidden)]
pub fn print(args: Arguments) {
    match TAKEN_BY.load(Ordering::Relaxed) {
        NOBODY => {
            let _whole = lock();
            let _ = Console.write_fmt(args);
        }
        // The hart that has the console prints without the lock: it may have
        // held it when it failed.
        taker if taker == hart() => drop(Console.write_fmt(args)),
        _ => loop {
            core::hint::spin_loop();
        },
    }
}

/// Waits for the other lines to end. What is printed may be in memory that is
/// mapped at first touch: who prints may have to wait for the address space, and
/// that for an answer of a hart that waits here.
fn lock() -> SpinNoIrqGuard<'static, ()> {
    loop {
        if let Some(guard) = PRINTING.try_lock() {
            return guard;
        }
        wait_a_turn();
    }
}

/// Gives the console to the calling hart for good, for its last words; every
/// other hart that prints from now on stops there.
///
/// Answers whether this hart has it: of several that fail at once the first
/// does.
pub fn take_console() -> bool {
    let me = hart();
    match TAKEN_BY.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        Err(owner) => owner == me,
    }
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
