//! The end.

use axlog::ax_println;
use axplat::time::{current_ticks, ticks_to_nanos};

/// Ends the whole machine with `status`: 0 says that all went well.
///
/// The last line on the console names the status, for whoever only watches the
/// console, and how long the machine ran; then the machine is told by its own
/// means, and powers off.
pub fn exit(status: u8) -> ! {
    let now = ticks_to_nanos(current_ticks());
    let booted = ticks_to_nanos(axmachine::boot_ticks());
    let (run, total) = (now.saturating_sub(booted) / 1000, now / 1000);
    ax_println!(
        "[exit {status}] {}.{:03} ms after boot, {}.{:03} ms after power-on",
        run / 1000,
        run % 1000,
        total / 1000,
        total % 1000
    );
    axmachine::exit(status)
}
