//! The console: which thread or hart prints, and which hart reports the machine's end.
//!
//! The output of one call stays in one piece. While it is printed, the console has an owner:
//! a thread, or a hart that runs no threads. Other callers wait. The owner may be
//! interrupted, may wait, and may print from within a `Display` implementation: its nested
//! calls print at once, as with std's standard output.
//!
//! A caller with interrupts off cannot wait for long, because the owner may be a thread that
//! its hart has interrupted. After some attempts it prints in the middle of the owner's
//! line. A torn line is better than a hart that hangs.

use core::fmt::{self, Arguments, Write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{hart, owner, stop, wait};

/// The value of [`OWNER`] without an owner, and of [`TAKEN_BY`] before a hart takes the
/// console.
const NONE: usize = 0;

/// The owner's number ([`LogIf::owner`](crate::LogIf::owner)), or `NONE`.
static OWNER: AtomicUsize = AtomicUsize::new(NONE);

/// The number plus one of the hart that has taken the console for good, or `NONE`.
static TAKEN_BY: AtomicUsize = AtomicUsize::new(NONE);

/// Whether a line has been begun and not ended.
static IN_LINE: AtomicBool = AtomicBool::new(false);

/// The number of bytes that are passed to the platform at a time. They are copied first, so
/// that a page fault on the text cannot happen while the platform's lock is held.
const PIECE: usize = 64;

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut copy = [0; PIECE];
        for piece in text.as_bytes().chunks(PIECE) {
            let copy = &mut copy[..piece.len()];
            copy.copy_from_slice(piece);
            stop_if_taken();
            // Relaxed: the owner's lock orders this store before the next owner's read. A
            // caller that prints without the lock tears the line anyway.
            IN_LINE.store(copy.last() != Some(&b'\n'), Ordering::Relaxed);
            axplat::console::write_bytes(copy);
        }
        Ok(())
    }
}

/// Prints in one piece. The macros call this.
#[doc(hidden)]
pub fn print(args: Arguments) {
    let _console = ConsoleGuard::lock();
    let _ = Console.write_fmt(args);
}

/// The right to print, until it is dropped.
#[derive(Debug)]
pub struct ConsoleGuard {
    /// Whether the drop frees the console. False for a call within the owner's own call, and
    /// for a caller that has waited in vain.
    is_owner: bool,
}

impl ConsoleGuard {
    /// Waits until the console is free, or until waiting cannot help.
    pub fn lock() -> Self {
        Self::lock_within(usize::MAX)
    }

    /// Waits until the console is free, for at most `attempts` calls of
    /// [`LogIf::wait`](crate::LogIf::wait).
    pub fn lock_within(attempts: usize) -> Self {
        let me = owner();
        let mut attempt = 0;
        loop {
            stop_if_taken();
            // Acquire: pairs with the Release in `drop`, so that the last owner's output
            // comes first.
            match OWNER.compare_exchange(NONE, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Self { is_owner: true },
                Err(owner) if owner == me => return Self { is_owner: false },
                // If the console is taken, this hart has taken it, and does not wait.
                Err(_) if attempt >= attempts || is_taken() || !wait(attempt) => {
                    return Self { is_owner: false };
                }
                Err(_) => attempt += 1,
            }
        }
    }
}

impl Drop for ConsoleGuard {
    fn drop(&mut self) {
        if self.is_owner {
            // Release: pairs with the Acquire in `lock_within`.
            OWNER.store(NONE, Ordering::Release);
        }
    }
}

/// Gives the console to the calling hart for good, so that it can report how the machine
/// ends. From now on it prints without waiting, and every other hart that prints stops.
///
/// Returns whether the calling hart has the console. If several harts call this, the first
/// one gets it.
pub fn take_console() -> bool {
    let me = hart() + 1;
    // Release and Acquire: pair with each other and with `is_taken`, so that a hart that sees
    // the console taken sees what the taker did before.
    match TAKEN_BY.compare_exchange(NONE, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        Err(taker) => taker == me,
    }
}

/// Gives the console to the calling hart, even if another hart has taken it.
pub fn seize_console() {
    // Release: pairs with the Acquire in `is_taken` and `has_console`.
    TAKEN_BY.store(hart() + 1, Ordering::Release);
}

/// Returns whether any hart has taken the console for good.
fn is_taken() -> bool {
    // Acquire: pairs with the Release in `take_console` and `seize_console`.
    TAKEN_BY.load(Ordering::Acquire) != NONE
}

/// Returns whether the calling hart has taken the console for good.
pub fn has_console() -> bool {
    // Acquire: pairs with the Release in `take_console` and `seize_console`.
    let taker = TAKEN_BY.load(Ordering::Acquire);
    taker != NONE && taker == hart() + 1
}

/// Ends a line that has been begun, so that the next output starts a line.
pub fn end_line() {
    // Relaxed: the caller owns the console, and got it by an Acquire that pairs with the
    // Release of the owner before it.
    if IN_LINE.load(Ordering::Relaxed) {
        let _ = Console.write_str("\n");
    }
}

/// Stops the calling hart if another hart has taken the console for good.
pub fn stop_if_taken() {
    if is_taken() && !has_console() {
        stop();
    }
}
