//! Forgetting translations, on this hart and on the others.
//!
//! On riscv64 the firmware, and on aarch64 the hardware, makes other harts forget
//! without the kernel there noticing ([`arch::remote_flush`]). Elsewhere they are asked
//! by interrupt, and the hand-shake is `shootdown`'s; requests of many harts are on
//! their way at the same time. docs/shootdown.md has it as a whole.
//!
//! No hart waits for ever. One that is asked answers
//!
//! - in the handler of the interrupt, where it lets interrupts in: asleep or not, in the
//!   address space or not;
//! - as it waits, where it does not: for answers of its own ([`flush_on`]), or, by
//!   [`answer`], for anything that a waiting hart may hold;
//! - and else when it is done with what it keeps interrupts out for.
//!
//! One that is not up is not asked. It has not used anything by then but its stack and
//! what has been there since boot, and forgets all once it counts as up.

use core::ops::Range;

use crate::arch;
use crate::hart::this_hart;

#[cfg(feature = "smp")]
pub use others::{answer, counters};

/// All addresses, the way to tables included.
pub const EVERYTHING: Range<usize> = 0..usize::MAX;

/// What harts have made one another forget, since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often a hart has made others forget something.
    pub requests: u64,
    /// How many of those the firmware (riscv64) or the hardware (aarch64) has carried out.
    pub carried_out: u64,
    /// How many interrupts went out for the rest.
    pub interrupts: u64,
    /// How often a hart has forgotten for another: once for each request and each hart
    /// that it asks.
    pub answers: u64,
}

/// Makes the harts of a set that are up forget their translations of `pages`, a
/// range of page-aligned virtual addresses: of the kernel's, and of the address
/// space that each has entered. Returns when all have.
///
/// Must not be called with a lock held that another hart spins for with
/// interrupts off, unless that hart calls [`answer`] as it spins.
pub fn flush_on(harts: u64, pages: Range<usize>) {
    if harts & 1 << this_hart() != 0 || arch::FORGETS_EVERYWHERE {
        flush_here(pages.clone());
    }
    #[cfg(feature = "smp")]
    others::flush(harts, pages);
}

/// Makes this hart forget its translations of `pages`, as [`flush_on`] does.
pub fn flush_here(pages: Range<usize>) {
    if pages.len() / axconfig::PAGE_SIZE > arch::MOST_PAGES {
        arch::flush_tlb_all();
    } else {
        pages
            .step_by(axconfig::PAGE_SIZE)
            .for_each(arch::flush_tlb_page);
    }
}

/// Flushes what this hart may hold of `pages` from before they were mapped, so that its
/// next access to them does not fault.
///
/// A fresh mapping is flushed nowhere: an access that meets a stale entry faults, and the
/// handler resolves that. A stack cannot wait for it, for the trap entry itself uses the
/// stack. So a hart calls this before it runs on a stack that was mapped since it last
/// did, once it knows that the stack is mapped. docs/shootdown.md has what each
/// architecture may hold.
#[cfg(feature = "multitask")]
pub fn flush_fresh(pages: Range<usize>) {
    arch::flush_fresh(pages);
}

/// Makes every other hart that is up fetch instructions anew; see
/// [`icache::sync`](crate::icache::sync).
pub(crate) fn fetch_anew_on_others() {
    #[cfg(feature = "smp")]
    others::fetch_anew();
}

/// Does what another hart has asked of this one, which nobody does on a machine of one.
#[cfg(not(feature = "smp"))]
pub fn answer() {}

/// What harts have made one another forget, since boot: nothing on a machine of one.
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

    use super::{Counters, flush_here};
    use crate::arch::{self, IrqsOff};
    use crate::hart::{online, this_hart};
    use crate::irq::kick;
    use crate::shootdown::Requests;

    static REQUESTS: Requests<MAX_HARTS> = Requests::new();

    /// A hart's own part of the [`Counters`], in a cache line of its own. It alone
    /// writes there, with interrupts out.
    #[repr(align(64))]
    struct Counted {
        requests: AtomicU64,
        carried_out: AtomicU64,
        interrupts: AtomicU64,
        answers: AtomicU64,
    }

    static COUNTED: [Counted; MAX_HARTS] = [const {
        Counted {
            requests: AtomicU64::new(0),
            carried_out: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            answers: AtomicU64::new(0),
        }
    }; MAX_HARTS];

    fn count(counter: &AtomicU64) {
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    /// In the place of pages: instructions are to be fetched anew.
    const INSTRUCTIONS: Range<usize> = usize::MAX..usize::MAX;

    /// Makes all harts that are up, but for this one, fetch instructions anew.
    pub fn fetch_anew() {
        flush(u64::MAX, INSTRUCTIONS);
    }

    /// Makes those of `harts` that are up, but for this one, forget `pages`.
    pub fn flush(harts: u64, pages: Range<usize>) {
        // Behind what the caller has written to tables: a hart that comes up is seen
        // here, or sees that.
        fence(SeqCst);
        let me = this_hart();
        let others = harts & online() & !(1 << me);
        if others != 0 {
            ask(me, others, pages);
        }
    }

    fn ask(me: usize, others: u64, pages: Range<usize>) {
        // A handler that made harts forget something would do so in this hart's room.
        let _guard = IrqsOff::new();
        let counted = &COUNTED[me];
        count(&counted.requests);
        let carried_out = match pages == INSTRUCTIONS {
            true => arch::remote_fetch_anew(others),
            false => arch::remote_flush(others, pages.clone()),
        };
        if carried_out {
            return count(&counted.carried_out);
        }
        let interrupt = |hart| {
            count(&counted.interrupts);
            kick(hart);
        };
        REQUESTS.ask(me, others, pages, interrupt, forget);
    }

    /// Does what other harts have asked of this one, if anything.
    pub fn answer() {
        let me = this_hart();
        if REQUESTS.asks(me) {
            // A handler that waited for a hart that has asked would wait for what comes
            // behind it here.
            let _guard = IrqsOff::new();
            REQUESTS.answer(me, forget);
        }
    }

    fn forget(pages: Range<usize>) {
        count(&COUNTED[this_hart()].answers);
        match pages == INSTRUCTIONS {
            true => arch::fetch_anew(),
            false => flush_here(pages),
        }
    }

    /// What harts have made one another forget, since boot.
    pub fn counters() -> Counters {
        COUNTED
            .iter()
            .fold(Counters::default(), |sum, hart| Counters {
                requests: sum.requests + hart.requests.load(Relaxed),
                carried_out: sum.carried_out + hart.carried_out.load(Relaxed),
                interrupts: sum.interrupts + hart.interrupts.load(Relaxed),
                answers: sum.answers + hart.answers.load(Relaxed),
            })
    }
}
