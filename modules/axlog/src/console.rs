//! The console: one writer at a time, and one hart for the machine's last words.
//!
//! What one call prints comes out in one piece. The writer may be interrupted, may wait,
//! and may print from within what it prints: the console has an owner as std's standard
//! output has, and the owner's own calls pass. An owner is a thread, or a hart where there
//! are no threads.
//!
//! A caller that keeps interrupts out cannot wait for long: the owner may be a thread that
//! its hart has interrupted. It prints without its turn then, for a torn line is better
//! than a hart that stands still.

use core::fmt::{self, Arguments, Write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{hart, owner, stop, wait};

/// No owner, and no hart that has taken the console.
const NONE: usize = 0;

/// Whose turn it is: an owner, or `NONE`.
static OWNER: AtomicUsize = AtomicUsize::new(NONE);

/// The hart that has taken the console for good, plus one; or `NONE`.
static TAKEN_BY: AtomicUsize = AtomicUsize::new(NONE);

/// Whether the last byte printed was other than a line's end.
static IN_LINE: AtomicBool = AtomicBool::new(false);

/// Bytes that are handed to the platform at a time. They are copied first, so that a page
/// fault on what is printed never happens with the platform's lock held.
const PIECE: usize = 64;

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut copy = [0; PIECE];
        for piece in text.as_bytes().chunks(PIECE) {
            let copy = &mut copy[..piece.len()];
            copy.copy_from_slice(piece);
            stop_if_taken();
            IN_LINE.store(copy.last() != Some(&b'\n'), Ordering::Relaxed);
            axplat::console::write_bytes(copy);
        }
        Ok(())
    }
}

/// Prints in one piece. The macros call this.
#[doc(hidden)]
pub fn print(args: Arguments) {
    let _turn = Turn::take();
    let _ = Console.write_fmt(args);
}

/// The right to print, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// Whether the console has no owner afterwards: not after a call from within another.
    ends: bool,
}

impl Turn {
    /// Waits until the console has no owner, for as long as waiting can help.
    pub fn take() -> Self {
        Self::take_within(usize::MAX)
    }

    /// Waits until the console has no owner, but for `turns` turns at most.
    pub fn take_within(turns: usize) -> Self {
        let me = owner();
        let mut turn = 0;
        loop {
            stop_if_taken();
            // Acquire: with the last owner's release, its output comes first.
            match OWNER.compare_exchange(NONE, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Self { ends: true },
                Err(owner) if owner == me => return Self { ends: false },
                Err(_) if turn >= turns || is_taken() || !wait(turn) => {
                    return Self { ends: false };
                }
                Err(_) => turn += 1,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ends {
            OWNER.store(NONE, Ordering::Release);
        }
    }
}

/// Gives the console to the calling hart for good, for the machine's last words: it prints
/// without waiting from now on, and every other hart that prints stops there.
///
/// Returns whether this hart has the console. Of several that take it, the first has it.
pub fn take_console() -> bool {
    let me = hart() + 1;
    match TAKEN_BY.compare_exchange(NONE, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        Err(taker) => taker == me,
    }
}

/// Gives the console to the calling hart, whichever hart has taken it before.
pub fn seize_console() {
    TAKEN_BY.store(hart() + 1, Ordering::Release);
}

/// Whether a hart has taken the console for good.
fn is_taken() -> bool {
    TAKEN_BY.load(Ordering::Acquire) != NONE
}

/// Whether the calling hart has taken the console for good.
pub fn has_console() -> bool {
    let taker = TAKEN_BY.load(Ordering::Acquire);
    taker != NONE && taker == hart() + 1
}

/// Ends a line that has been begun, so that what is printed next starts a line.
pub fn end_line() {
    if IN_LINE.load(Ordering::Relaxed) {
        let _ = Console.write_str("\n");
    }
}

/// Stops the calling hart if another one has taken the console for good.
pub fn stop_if_taken() {
    if is_taken() && !has_console() {
        stop();
    }
}
