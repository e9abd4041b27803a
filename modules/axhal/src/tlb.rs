//! Flushing translations, on this hart and on others.
//!
//! On riscv64 the firmware flushes other harts, and on aarch64 the hardware does
//! ([`arch::remote_flush`]). The kernel on those harts does not notice. On the other
//! architectures a hart sends requests and interrupts, by [`shootdown`](crate::shootdown).
//! Requests of several harts can be pending at the same time. docs/shootdown.md describes the
//! whole.
//!
//! No hart waits for ever. A hart acknowledges a request
//!
//! - in the interrupt handler, if its interrupts are on. It may sleep, and may be in any
//!   address space;
//! - in [`flush_on`], while it waits for acknowledgements of its own request;
//! - by [`acknowledge`], while it waits with interrupts off for a lock, or for anything else
//!   that a hart inside [`flush_on`] may hold;
//! - otherwise when it has finished the work for which it turned interrupts off.
//!
//! A hart that is not up yet gets no request. On its way it uses only its stack, and memory
//! whose mappings have not changed since boot. It flushes everything once it counts as up.

use core::ops::Range;

use crate::arch;
use crate::hart::this_hart;

#[cfg(feature = "smp")]
pub use others::{acknowledge, counters};

/// All addresses. A flush of this range also drops the entries of upper-level tables that
/// page walkers have cached.
pub const EVERYTHING: Range<usize> = 0..usize::MAX;

/// The number of flushes that harts have requested of each other since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often a hart has requested a flush of others.
    pub requests: u64,
    /// How many of those the firmware (riscv64) or the hardware (aarch64) has carried out.
    pub carried_out: u64,
    /// How many interrupts were sent for the rest.
    pub interrupts: u64,
    /// How often a hart has flushed for another: once for each request and each hart
    /// that gets it.
    pub acknowledgements: u64,
}

/// Makes each hart of the set `harts` that is up flush its translations of `pages`, and
/// returns when all have.
///
/// `harts` has one bit for each hart. `pages` is a range of page-aligned virtual addresses.
/// A hart flushes the kernel's translations and those of the address space that it has
/// entered.
///
/// The caller must not hold a lock for which another hart spins with interrupts off, unless
/// that hart calls [`acknowledge`] as it spins.
pub fn flush_on(harts: u64, pages: Range<usize>) {
    if harts & 1 << this_hart() != 0 || arch::FLUSHES_EVERY_HART {
        flush_local(pages.clone());
    }
    #[cfg(feature = "smp")]
    others::flush(harts, pages);
}

/// Makes this hart flush its translations of `pages`, a range of page-aligned virtual
/// addresses, as [`flush_on`] does.
pub fn flush_local(pages: Range<usize>) {
    arch::flush_range(
        pages,
        arch::MAX_PAGE_FLUSHES,
        arch::flush_tlb_page,
        arch::flush_tlb_all,
    );
}

/// Flushes what this hart may hold of `pages` from before they were mapped, so that its
/// next access to them does not fault.
///
/// A new mapping is usually not flushed: an access that meets a stale entry faults, and the
/// page-fault handler resolves that. For a stack that is too late, because the trap entry
/// itself uses the stack. So a hart calls this before it first runs on a stack that is newly
/// mapped, after it has learned of the mapping. docs/shootdown.md lists what each
/// architecture may hold.
#[cfg(feature = "multitask")]
pub fn flush_fresh(pages: Range<usize>) {
    arch::flush_fresh(pages);
}

/// Makes every other hart that is up refetch instructions; see
/// [`icache::sync`](crate::icache::sync).
pub(crate) fn refetch_on_others() {
    #[cfg(feature = "smp")]
    others::refetch();
}

/// Does nothing: on a machine of one hart there are no requests.
#[cfg(not(feature = "smp"))]
pub fn acknowledge() {}

/// Returns counters that are all 0: on a machine of one hart there are no requests.
#[cfg(not(feature = "smp"))]
pub fn counters() -> Counters {
    Counters::default()
}

/// The other harts.
#[cfg(feature = "smp")]
mod others {
    use core::ops::Range;
    use core::sync::atomic::Ordering::{Relaxed, SeqCst};
    use core::sync::atomic::{AtomicU64, fence};

    use axconfig::MAX_HARTS;

    use super::{Counters, flush_local};
    use crate::arch::{self, IrqsOff};
    use crate::hart::{online, this_hart};
    use crate::ipi::kick;
    use crate::shootdown::Mailboxes;

    static MAILBOXES: Mailboxes<MAX_HARTS> = Mailboxes::new();

    /// One hart's part of the [`Counters`], in a cache line of its own.
    ///
    /// Relaxed suffices for every access: only that hart writes, with interrupts off, and
    /// readers need no order between the counters.
    #[repr(align(64))]
    struct HartCounters {
        requests: AtomicU64,
        carried_out: AtomicU64,
        interrupts: AtomicU64,
        acknowledgements: AtomicU64,
    }

    static COUNTERS: [HartCounters; MAX_HARTS] = [const {
        HartCounters {
            requests: AtomicU64::new(0),
            carried_out: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            acknowledgements: AtomicU64::new(0),
        }
    }; MAX_HARTS];

    fn increment(counter: &AtomicU64) {
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    /// The range that a request to refetch instructions has in place of pages.
    const INSTRUCTIONS: Range<usize> = usize::MAX..usize::MAX;

    /// Makes all harts that are up, but for this one, refetch instructions.
    pub fn refetch() {
        flush(u64::MAX, INSTRUCTIONS);
    }

    /// Makes each hart of `harts` that is up, but for this one, flush `pages`.
    pub fn flush(harts: u64, pages: Range<usize>) {
        // Orders the caller's writes to page tables before the read of `online`. It pairs
        // with the update in `hart::set_online`: a hart that comes up is seen here, or it
        // sees the written tables.
        fence(SeqCst);
        let me = this_hart();
        let others = harts & online() & !(1 << me);
        if others != 0 {
            send(me, others, pages);
        }
    }

    fn send(me: usize, others: u64, pages: Range<usize>) {
        // A hart has one request, which a handler that sends would overwrite.
        let _guard = IrqsOff::new();
        let counters = &COUNTERS[me];
        increment(&counters.requests);
        let carried_out = match pages == INSTRUCTIONS {
            true => arch::remote_refetch_instructions(others),
            false => arch::remote_flush(others, pages.clone()),
        };
        if carried_out {
            return increment(&counters.carried_out);
        }
        let interrupt = |hart| {
            increment(&counters.interrupts);
            kick(hart);
        };
        MAILBOXES.send(me, others, pages, interrupt, carry_out);
    }

    /// Carries out the requests that other harts have sent to this one, if any.
    pub fn acknowledge() {
        let me = this_hart();
        if MAILBOXES.has_requests(me) {
            // A handler that sent a request of its own would wait for a hart whose request
            // the interrupted code has taken and not yet acknowledged.
            let _guard = IrqsOff::new();
            MAILBOXES.acknowledge(me, carry_out);
        }
    }

    fn carry_out(pages: Range<usize>) {
        increment(&COUNTERS[this_hart()].acknowledgements);
        match pages == INSTRUCTIONS {
            true => arch::refetch_instructions(),
            false => flush_local(pages),
        }
    }

    /// Returns how many flushes harts have requested of each other since boot.
    pub fn counters() -> Counters {
        COUNTERS
            .iter()
            .fold(Counters::default(), |sum, hart| Counters {
                requests: sum.requests + hart.requests.load(Relaxed),
                carried_out: sum.carried_out + hart.carried_out.load(Relaxed),
                interrupts: sum.interrupts + hart.interrupts.load(Relaxed),
                acknowledgements: sum.acknowledgements + hart.acknowledgements.load(Relaxed),
            })
    }
}
