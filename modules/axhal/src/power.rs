//! The end of the machine: one hart ends it, whatever else fails on the way.
//!
//! ```text
//!   main returns, exit ─► exit ──┐
//!   panic, fault ───────► fail ──┤
//!                                ▼
//!    begin: interrupts off, the console taken, the other harts stopped
//!                                │
//!      1st time: report, exit line      2nd: one line, exit line
//!      3rd: exit line                   4th: nothing
//!                                │
//!                                ▼
//!                        axmachine::exit
//! ```
//!
//! A hart that fails while it ends the machine begins again, and says less each time; so
//! no failure repeats for ever. No step waits for a lock: the failing hart may hold it.
//! A hart that stands still in its report is relieved by one that it has stopped
//! ([`stop`]); on a machine of one hart it is like any other endless loop.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use axlog::{ConsoleGuard, ax_print, ax_println};
use axplat::time::{current_ticks, ticks_to_nanos};

use crate::arch;
use crate::hart::{hardware_id, this_hart};
use crate::threads;

/// The status a machine ends with when the kernel panics or an exception finds
/// no handler: what Rust programs end with when they panic.
pub const FAILED: u8 = 101;

/// How many turns the exit line waits for another thread's or hart's line to end: some
/// 30 ms, or more where other threads take turns.
const PATIENCE: usize = 2000;

/// How often this machine's end has begun. Written by the hart that has the console.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// Whether calling code runs on the hart that ends the machine: interrupts are off, and
/// no other thread or hart goes on.
pub fn is_ending() -> bool {
    axlog::has_console()
}

/// Ends the whole machine with `status`: 0 says that all went well. From within the report
/// of a failure the machine ends as failed, whatever `status` is.
///
/// The last line on the console names the status, for programs that only watch the
/// console, and how long the machine ran. Then the machine is told by its own means, and
/// powers off.
pub fn exit(status: u8) -> ! {
    let _console = ConsoleGuard::lock_within(PATIENCE);
    let status = match begin() {
        0 => status,
        _ => FAILED,
    };
    end(status)
}

/// Ends the machine as failed, with a report: which hart and thread, `what`, and `details`
/// on lines of their own. A failure during a report is told without details, and a
/// failure during that not at all.
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

/// Makes the calling hart the one that ends the machine, and returns how often it had
/// begun to. If another hart ends the machine, this one stops here.
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
        // The console fails.
        3 => axmachine::exit(FAILED),
        // The power switch fails.
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

    /// Stops the hart, which nothing asks for where there is no other.
    pub fn stop() -> ! {
        crate::arch::halt()
    }
}

/// The other harts.
#[cfg(feature = "smp")]
mod others {
    use core::sync::atomic::{AtomicU64, Ordering};

    use axplat::irq::IpiTarget;

    use super::{BEGUN, fail};
    use crate::arch;
    use crate::hart::{online, this_hart};
    use crate::time::monotonic_time_nanos;

    /// How long a report waits for the other harts to stop.
    const STOPS_NS: u64 = 20_000_000;

    /// How long the report may take before another hart ends the machine.
    const REPORT_NS: u64 = 2_000_000_000;

    /// One bit for each hart that has stopped.
    static STOPPED: AtomicU64 = AtomicU64::new(0);

    /// Stops every other hart that lets interrupts in. The rest stop when they print,
    /// fail, or let interrupts in.
    pub fn stop_others() {
        let others = online() & !(1 << this_hart());
        for cpu_id in (0..u64::BITS as usize).filter(|hart| others & 1 << hart != 0) {
            axplat::irq::send_ipi(arch::IPI_IRQ, IpiTarget::Other { cpu_id });
        }
    }

    /// Waits until every other hart has stopped, if that is soon: what they have on their
    /// way to the console comes before the report.
    pub fn wait_for_others() {
        let others = online() & !(1 << this_hart());
        let deadline = monotonic_time_nanos().saturating_add(STOPS_NS);
        while STOPPED.load(Ordering::Acquire) & others != others
            && monotonic_time_nanos() < deadline
        {
            core::hint::spin_loop();
        }
    }

    /// Stops the calling hart: another one ends the machine. The first hart that stops
    /// ends the machine itself if that takes too long.
    pub fn stop() -> ! {
        arch::disable_irqs();
        let me = 1 << this_hart();
        let before = STOPPED.fetch_or(me, Ordering::AcqRel);
        if before != 0 {
            arch::halt();
        }
        let deadline = monotonic_time_nanos().saturating_add(REPORT_NS);
        while monotonic_time_nanos() < deadline {
            core::hint::spin_loop();
        }
        axlog::seize_console();
        // The report has begun, and is not begun again.
        BEGUN.store(1, Ordering::Relaxed);
        fail(
            format_args!("the report takes longer than 2 s"),
            format_args!(""),
        )
    }
}
