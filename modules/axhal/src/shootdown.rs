//! The hand-shake by which a hart makes others forget, where they must be asked by
//! interrupt. Atomics and nothing else: what is done with them is the caller's.
//!
//! ```text
//!   asks                                      is asked
//!   ────                                      ────────
//!   own pages, own `left` = whom
//!   own bit into own `askers`: I look
//!   own bit into each one's `askers` ───────► takes all of `askers` at once
//!     0 before? then interrupt it             for each that asks:
//!   until `left` is 0:                          forgets its pages
//!     answers those in own `askers`  ◄───────   own bit out of its `left`
//!   takes all of own `askers`, answers
//! ```
//!
//! Every hart has a room of its own to ask in, so that as many requests are on their
//! way as there are harts. Three things are to be shown.
//!
//! - Who has asked returns only after all have forgotten: a bit goes out of `left`
//!   behind the forgetting (release), and who sees none left sees all that (acquire).
//!   A bit of `askers` is taken by one `swap`, so that each request is answered once,
//!   whoever else answers on the same hart.
//! - No request is overlooked: a hart's `askers` is another than 0 only between the
//!   moment one puts the first bit in and the moment the hart takes all. Who puts the
//!   first in interrupts the hart, and its handler takes all; the others need not. A
//!   hart that waits for answers has its own bit in, so that nobody interrupts it; it
//!   takes all once more when it has its answers.
//! - Nobody waits for ever: who waits answers as it waits, and all others let interrupts
//!   in or [answer](Requests::answer) as they wait.

use core::ops::Range;

use crate::atomic::{AtomicU64, AtomicUsize, Ordering, spin_loop};

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, shuttle))]
mod schedules;

/// What `HARTS` harts, 64 at most, ask of one another.
pub struct Requests<const HARTS: usize> {
    harts: [Hart; HARTS],
}

/// A hart's room, in a cache line of its own.
#[repr(align(64))]
#[cfg_attr(loom, derive(Default))]
struct Hart {
    /// What it asks others to forget.
    start: AtomicUsize,
    end: AtomicUsize,
    /// One bit for each hart that has yet to answer it.
    left: AtomicU64,
    /// One bit for each hart that asks this one; its own as long as it looks by itself.
    askers: AtomicU64,
}

impl<const HARTS: usize> Requests<HARTS> {
    /// Nobody asks.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            harts: [const {
                Hart {
                    start: AtomicUsize::new(0),
                    end: AtomicUsize::new(0),
                    left: AtomicU64::new(0),
                    askers: AtomicU64::new(0),
                }
            }; HARTS],
        }
    }

    /// Nobody asks.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            harts: std::array::from_fn(|_| Hart::default()),
        }
    }

    /// Hart `me` makes `others`, one bit for each and none for itself, forget `pages`.
    /// Returns when all have. Meanwhile it does by `forget` what others ask of it.
    ///
    /// `interrupt` makes a hart call [`answer`](Self::answer) soon. Nothing else may ask,
    /// or answer, on this hart meanwhile: interrupts are out.
    pub fn ask(
        &self,
        me: usize,
        others: u64,
        pages: Range<usize>,
        interrupt: impl Fn(usize),
        forget: impl Fn(Range<usize>),
    ) {
        let own = &self.harts[me];
        own.start.store(pages.start, Ordering::Relaxed);
        own.end.store(pages.end, Ordering::Relaxed);
        own.left.store(others, Ordering::Relaxed);
        own.askers.fetch_or(1 << me, Ordering::Relaxed);
        for other in bits(others) {
            let before = self.harts[other]
                .askers
                .fetch_or(1 << me, Ordering::Release);
            if before == 0 {
                interrupt(other);
            }
        }
        while own.left.load(Ordering::Acquire) != 0 {
            if own.askers.load(Ordering::Relaxed) != 1 << me {
                self.take(me, 1 << me, &forget);
            }
            spin_loop();
        }
        self.take(me, 0, &forget);
    }

    /// Whether any ask something of hart `me`.
    #[inline]
    pub fn asks(&self, me: usize) -> bool {
        self.harts[me].askers.load(Ordering::Relaxed) != 0
    }

    /// Hart `me` does by `forget` what others ask of it.
    pub fn answer(&self, me: usize, forget: impl Fn(Range<usize>)) {
        self.take(me, 0, &forget);
    }

    /// Takes all that ask of `me`, leaves `looks` behind, and answers them.
    fn take(&self, me: usize, looks: u64, forget: &impl Fn(Range<usize>)) {
        let askers = self.harts[me].askers.swap(looks, Ordering::Acquire);
        for asker in bits(askers & !(1 << me)) {
            let asker = &self.harts[asker];
            forget(asker.start.load(Ordering::Relaxed)..asker.end.load(Ordering::Relaxed));
            asker.left.fetch_and(!(1 << me), Ordering::Release);
        }
    }
}

/// The numbers of the bits that are set, from the lowest on.
fn bits(mut set: u64) -> impl Iterator<Item = usize> + Clone {
    core::iter::from_fn(move || {
        let lowest = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (lowest < u64::BITS).then_some(lowest as usize)
    })
}
