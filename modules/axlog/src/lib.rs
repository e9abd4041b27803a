//! Lines on the console.
//!
//! [`ax_print!`] writes for the application, the macros of the crate `log` for
//! the kernel. What one call prints comes out in one piece, whichever harts
//! print at the same time.
//!
//! Locks: `PRINTING`, a leaf but for the console's own lock in the platform.
#![no_std]

use core::fmt::{self, Arguments, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use kspin::SpinNoIrq;
use log::{Level, LevelFilter, Log, Metadata, Record};

pub use log::{debug, error, info, trace, warn};

/// What a log line says about who wrote it.
#[crate_interface::def_interface(gen_caller)]
pub trait LogIf {
    /// The kernel's number of the hart that runs this.
    fn hart() -> usize;
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
            let _whole = PRINTING.lock();
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
        let colour = match record.level() {
            Level::Error => 31,
            Level::Warn => 33,
            Level::Info => 32,
            Level::Debug => 36,
            Level::Trace => 90,
        };
        print(format_args!(
            "\u{1B}[{colour}m[{:3}.{:06} {} {}] {}\u{1B}[m\n",
            now.as_secs(),
            now.subsec_micros(),
            hart(),
            record.target(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// Makes the macros of the crate `log` print. Before that they do nothing.
pub fn init() {
    if LEVEL != LevelFilter::Off && log::set_logger(&Logger).is_ok() {
        log::set_max_level(LEVEL);
    }
}
