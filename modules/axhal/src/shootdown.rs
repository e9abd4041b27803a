//! The shootdown protocol: how a hart makes others flush where it must interrupt them.
//!
//! This file has only the protocol, in atomics. The caller supplies the interrupt and the
//! flush.
//!
//! ```text
//!   sender                                    receiver
//!   ──────                                    ────────
//!   own request: pages, `pending` = receivers
//!   own bit into own `senders`: no interrupt
//!   own bit into each receiver's `senders` ─► takes all of `senders` at once
//!     it was 0? then interrupt the receiver   for each sender:
//!   until `pending` is 0:                       flushes the sender's pages
//!     acknowledges those in own `senders` ◄───  own bit out of its `pending`
//!   takes all of own `senders`, acknowledges
//! ```
//!
//! Every hart has a request of its own, so as many requests can be pending as there are
//! harts. The protocol has three properties.
//!
//! - **A sender returns only after every receiver has flushed.** A receiver takes its bit
//!   out of `pending` after its flush (release). The sender that reads 0 there sees all
//!   those flushes (acquire). One `swap` takes all bits of `senders`, so each request is
//!   acknowledged once, even if a handler and interrupted code acknowledge on one hart.
//! - **No request is overlooked.** The sender that finds a hart's `senders` at 0 interrupts
//!   the hart, and the handler takes all bits. A sender that finds another bit there needs no
//!   interrupt: the hart has not taken that bit yet, and will take both at once.
//!   A hart that waits for acknowledgements has its own bit set, so no sender interrupts
//!   it. It takes all bits once more when it has its acknowledgements.
//! - **No hart waits for ever.** A waiting sender acknowledges requests as it waits. All
//!   other harts take interrupts, or call [`acknowledge`](Mailboxes::acknowledge) as they
//!   wait.

use core::ops::Range;

use crate::atomic::{AtomicU64, AtomicUsize, Ordering, spin_loop};

#[cfg(all(test, loom))]
mod interleavings;
#[cfg(all(test, shuttle))]
mod schedules;

/// The mailboxes of `HARTS` harts, 64 at most.
pub struct Mailboxes<const HARTS: usize> {
    harts: [Mailbox; HARTS],
}

/// One hart's mailbox and its own request, in a cache line of their own.
#[repr(align(64))]
#[cfg_attr(loom, derive(Default))]
struct Mailbox {
    /// The first address that this hart's own request tells others to flush.
    start: AtomicUsize,
    /// The end of those addresses, exclusive.
    end: AtomicUsize,
    /// One bit for each hart that has yet to acknowledge this hart's own request.
    pending: AtomicU64,
    /// One bit for each hart that has sent a request to this one. A hart that waits for
    /// acknowledgements also has its own bit set.
    senders: AtomicU64,
}

impl<const HARTS: usize> Mailboxes<HARTS> {
    /// Returns mailboxes without requests.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            harts: [const {
                Mailbox {
                    start: AtomicUsize::new(0),
                    end: AtomicUsize::new(0),
                    pending: AtomicU64::new(0),
                    senders: AtomicU64::new(0),
                }
            }; HARTS],
        }
    }

    /// Returns mailboxes without requests.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            harts: std::array::from_fn(|_| Mailbox::default()),
        }
    }

    /// Makes the harts of the set `others` flush `pages`, and returns when all have.
    ///
    /// `me` is the calling hart, which is not in `others`. As it waits it carries out, by
    /// `flush`, what other harts request of it. `interrupt` makes a hart call
    /// [`acknowledge`](Self::acknowledge) soon.
    ///
    /// The caller has interrupts off, so that no other code on this hart sends or
    /// acknowledges meanwhile.
    pub fn send(
        &self,
        me: usize,
        others: u64,
        pages: Range<usize>,
        interrupt: impl Fn(usize),
        flush: impl Fn(Range<usize>),
    ) {
        let own = &self.harts[me];
        // Relaxed: the release below publishes the request to each receiver.
        own.start.store(pages.start, Ordering::Relaxed);
        own.end.store(pages.end, Ordering::Relaxed);
        own.pending.store(others, Ordering::Relaxed);
        own.senders.fetch_or(1 << me, Ordering::Relaxed);
        for other in bits(others) {
            // Release: pairs with the `swap` in `take`, after which the receiver reads the
            // request and the page tables that the caller has changed.
            let before = self.harts[other]
                .senders
                .fetch_or(1 << me, Ordering::Release);
            if before == 0 {
                interrupt(other);
            }
        }
        // Acquire: pairs with the receivers' release in `take`, after their flush.
        while own.pending.load(Ordering::Acquire) != 0 {
            if own.senders.load(Ordering::Relaxed) != 1 << me {
                self.take(me, 1 << me, &flush);
            }
            spin_loop();
        }
        self.take(me, 0, &flush);
    }

    /// Returns whether another hart has sent a request to hart `me`. Not for a hart that is in
    /// [`send`](Self::send), where its own bit is set.
    #[inline]
    pub fn has_requests(&self, me: usize) -> bool {
        // Relaxed: `take` orders what follows, and a missed request comes with an interrupt.
        self.harts[me].senders.load(Ordering::Relaxed) != 0
    }

    /// Carries out, by `flush`, all requests sent to hart `me`, which is the calling hart,
    /// and acknowledges them.
    pub fn acknowledge(&self, me: usize, flush: impl Fn(Range<usize>)) {
        self.take(me, 0, &flush);
    }

    /// Replaces the senders of `me` by `left`, then flushes for each and acknowledges.
    fn take(&self, me: usize, left: u64, flush: &impl Fn(Range<usize>)) {
        // Acquire: pairs with the release by which a sender sets its bit in `send`.
        let senders = self.harts[me].senders.swap(left, Ordering::Acquire);
        for sender in bits(senders & !(1 << me)) {
            let sender = &self.harts[sender];
            flush(sender.start.load(Ordering::Relaxed)..sender.end.load(Ordering::Relaxed));
            // Release: pairs with the sender's acquire of `pending` in `send`.
            sender.pending.fetch_and(!(1 << me), Ordering::Release);
        }
    }
}

/// Returns the numbers of the bits that are set, in ascending order.
fn bits(mut set: u64) -> impl Iterator<Item = usize> + Clone {
    core::iter::from_fn(move || {
        let lowest = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (lowest < u64::BITS).then_some(lowest as usize)
    })
}
