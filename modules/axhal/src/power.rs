//! The end of the machine: one hart ends it, whatever else fails on the way.
//!
//! ```text
//!   main returns, exit ─► exit ──┐
//!   panic, fault ───────► fail ──┤
//!                                ▼
//!    begin: interrupts off, the console taken, the other harts stopped
//!                                │
//!      1st time: report, exit line      2nd: one line, exit line
//!      3rd: exit line                   4th: no output        5th: halts here
//!                                │
//!                                ▼
//!                        axmachine::exit
//! ```
//!
//! A hart that fails while it ends the machine begins again, and prints less each time, so
//! no failure repeats for ever. No step waits for a lock, because the failing hart may hold
//! it. If a hart hangs in its report, a hart that it has stopped takes over ([`stop`]). On a
//! machine of one hart such a hang is like any other endless loop.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use axlog::{ConsoleGuard, ax_print, ax_println};
use axplat::time::{current_ticks, ticks_to_nanos};

use crate::arch;
use crate::hart::{hardware_id, this_hart};
use crate::threads;

/// The exit status of a machine whose kernel panics, or takes an exception without a
/// handler. It is the status of Rust programs that panic.
pub const FAILED: u8 = 101;

/// The number of turns that the exit line waits for another thread or hart to end its line:
/// some 30 ms, or more where other threads run meanwhile.
const EXIT_LINE_TURNS: usize = 2000;

/// How often the machine's end has begun. Relaxed: only the hart that has the console uses
/// it, and `axlog` hands the console over by Release and Acquire.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// Returns whether the calling code runs on the hart that ends the machine. Interrupts are
/// off there, and no other thread runs there. Another hart may run until it takes an
/// interrupt, prints or fails.
pub fn is_ending() -> bool {
    axlog::has_console()
}

/// Ends the whole machine with `status`, where 0 means success. During the report of a
/// failure the machine ends with [`FAILED`], whatever `status` is.
///
/// The last line on the console has the status, for programs that only watch the
/// console, and how long the machine ran. Then the platform reports the status in its own
/// way, and powers off.
pub fn exit(status: u8) -> ! {
    let _console = ConsoleGuard::lock_within(EXIT_LINE_TURNS);
    let status = match begin() {
        0 => status,
        _ => FAILED,
    };
    end(status)
}

/// Ends the machine as failed. It prints a report: the hart and the thread, `what`, and
/// `details` on lines of their own.
///
/// A failure during a report is printed without details, and a failure during that is not
/// printed.
pub fn fail(what: fmt::Arguments, details: fmt::Arguments) -> ! {
    match begin() {
        0 => {
            wait_for_others();
            report(what, details);
        }
        1 => {
            axlog::end_line();
            ax_println!("PANIC again on hart {}: {what}", this_hart());
        }
        _ => {}
    }
    end(FAILED)
}

/// Makes the calling hart the one that ends the machine. Returns how often the end had begun
/// before. If another hart ends the machine, this one stops here.
fn begin() -> usize {
    arch::disable_irqs();
    if !axlog::take_console() {
        stop();
    }
    let before = BEGUN.load(Ordering::Relaxed);
    BEGUN.store(before + 1, Ordering::Relaxed);
    match before {
        0 => stop_others(),
        1 | 2 => {}
        // Printing fails.
        3 => axmachine::exit(FAILED),
        // Powering off fails.
        4.. => arch::halt(),
    }
    before
}

fn report(what: fmt::Arguments, details: fmt::Arguments) {
    let number = this_hart();
    ax_print!(
        "\nPANIC on hart {number} (hardware id {:#x})",
        hardware_id(number)
    );
    threads::print_current();
    ax_print!(": {what}\n{details}");
}

/// Prints the exit line and powers off.
fn end(status: u8) -> ! {
    let now = ticks_to_nanos(current_ticks());
    let booted = ticks_to_nanos(axmachine::boot_ticks());
    let (run, total) = (now.saturating_sub(booted) / 1000, now / 1000);
    axlog::end_line();
    ax_println!(
        "[exit {status}] {}.{:03} ms after boot, {}.{:03} ms after power-on",
        run / 1000,
        run % 1000,
        total / 1000,
        total % 1000
    );
    axmachine::exit(status)
}

#[cfg(not(feature = "smp"))]
pub use alone::stop;
#[cfg(not(feature = "smp"))]
use alone::{stop_others, wait_for_others};
#[cfg(feature = "smp")]
pub use others::stop;
#[cfg(feature = "smp")]
use others::{stop_others, wait_for_others};

/// A machine of one hart.
#[cfg(not(feature = "smp"))]
mod alone {
    pub fn stop_others() {}

    pub fn wait_for_others() {}

    /// Halts the calling hart. It is not called on a machine of one hart.
    pub fn stop() -> ! {
        crate::arch::halt()
    }
}

/// The other harts.
#[cfg(feature = "smp")]
mod others {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::{BEGUN, fail};
    use crate::arch;
    use crate::hart::{online, this_hart};
    use crate::ipi::kick;
    use crate::time::monotonic_time_nanos;

    /// How long a report waits for the other harts to stop.
    const STOPS_NS: u64 = 20_000_000;

    /// How long the report may take before another hart ends the machine.
    const REPORT_NS: u64 = 2_000_000_000;

    /// One bit for each hart that has stopped.
    static STOPPED: AtomicU64 = AtomicU64::new(0);

    /// Stops every other hart whose interrupts are on. The rest stop when they print,
    /// fail, or turn interrupts on.
    pub fn stop_others() {
        let others = online() & !(1 << this_hart());
        (0..u64::BITS as usize)
            .filter(|hart| others & 1 << hart != 0)
            .for_each(kick);
    }

    /// Waits until every other hart has stopped, but at most `STOPS_NS`, so that what those
    /// harts are printing comes before the report.
    pub fn wait_for_others() {
        let others = online() & !(1 << this_hart());
        let deadline = monotonic_time_nanos().saturating_add(STOPS_NS);
        // Acquire: pairs with the release in `stop`, which comes after the hart's output.
        while STOPPED.load(Ordering::Acquire) & others != others
            && monotonic_time_nanos() < deadline
        {
            core::hint::spin_loop();
        }
    }

    /// Stops the calling hart, because another hart ends the machine. The first hart that
    /// stops ends the machine itself if the report takes longer than `REPORT_NS`.
    pub fn stop() -> ! {
        arch::disable_irqs();
        let me = 1 << this_hart();
        // Release: pairs with the acquire in `wait_for_others`.
        let before = STOPPED.fetch_or(me, Ordering::AcqRel);
        if before != 0 {
            arch::halt();
        }
        let deadline = monotonic_time_nanos().saturating_add(REPORT_NS);
        while monotonic_time_nanos() < deadline {
            core::hint::spin_loop();
        }
        axlog::seize_console();
        // The report has begun, and does not begin again.
        BEGUN.store(1, Ordering::Relaxed);
        fail(
            format_args!("the report takes longer than 2 s"),
            format_args!(""),
        )
    }
}
