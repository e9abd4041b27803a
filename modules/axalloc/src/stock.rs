//! What each hart has of its own.

use core::sync::atomic::AtomicUsize;

#[cfg(feature = "fault-injection")]
use crate::fault::Countdown;
use crate::heap::classes::Classes;
use crate::magazine::Magazine;
use crate::usage::Counters;

/// How many single frames a hart keeps at most.
pub const FRAMES: usize = 64;

/// How many rows of frames a hart keeps at most.
pub const ROWS: usize = 32;

/// What one hart has of its own: only it changes it, with interrupts out, but
/// anyone may steal from the magazines.
///
/// What is used most comes first, where an instruction's offset reaches it. No two
/// share a cache line.
#[repr(C, align(64))]
pub struct Stock {
    /// This hart's share of the frames in use.
    pub used: Counters,
    /// Single free frames, by number.
    pub frames: Magazine<FRAMES>,
    /// Rows of free frames, [packed](crate::pool::packed).
    pub rows: Magazine<ROWS>,
    /// Free heap blocks, by address.
    pub heap: Classes,
    /// How many bytes the heap's latest refused request was for.
    pub refused: AtomicUsize,
    /// Which of its allocations is to fail.
    #[cfg(feature = "fault-injection")]
    pub fault: Countdown,
}

impl Stock {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            frames: Magazine::new(),
            rows: Magazine::new(),
            used: Counters::new(),
            heap: Classes::new(),
            refused: AtomicUsize::new(0),
            #[cfg(feature = "fault-injection")]
            fault: Countdown::new(),
        }
    }
}
