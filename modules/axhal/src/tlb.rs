//! Forgetting translations, on this hart and on the others.
//!
//! On riscv64 the firmware, and on aarch64 the hardware, makes other harts
//! forget without the kernel there noticing ([`crate::arch::remote_flush`]).
//! Elsewhere one hart at a time publishes a request, interrupts the others, and
//! waits until each has answered. A hart that waits for its turn answers requests
//! itself meanwhile ([`answer`]); so must whoever spins for a lock that a waiting
//! hart may hold.

use core::ops::Range;

use crate::arch;
use crate::hart::{online, this_hart};

/// All addresses, the way to tables included.
pub const EVERYTHING: Range<usize> = 0..usize::MAX;

/// More pages than this are forgotten by forgetting everything.
const MOST_PAGES: usize = 32;

/// Makes the harts of a set that are up forget their translations of `pages`, a
/// range of page-aligned virtual addresses: of the kernel's, and of the address
/// space that each has entered. Returns when all have.
///
/// Must not be called with a lock held that another hart spins for with
/// interrupts off, unless that hart calls [`answer`] as it spins.
pub fn flush_on(harts: u64, pages: Range<usize>) {
    let me = 1 << this_hart();
    if harts & me != 0 || arch::FORGETS_EVERYWHERE {
        flush_here(pages.clone());
    }
    let others = harts & online() & !me;
    if others != 0 && !arch::remote_flush(others, pages.clone()) {
        by_interrupt::ask(others, pages);
    }
}

/// Makes this hart forget its translations of `pages`, as [`flush_on`] does.
pub fn flush_here(pages: Range<usize>) {
    if pages.len() / axconfig::PAGE_SIZE > MOST_PAGES {
        arch::flush_tlb_all();
    } else {
        pages
            .step_by(axconfig::PAGE_SIZE)
            .for_each(arch::flush_tlb_page);
    }
}

/// Does what another hart has asked of this one, if anything.
pub fn answer() {
    by_interrupt::answer();
}

/// Asking by interrupt.
mod by_interrupt {
    use core::ops::Range;
    use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use crate::arch::IrqsOff;
    use crate::hart::this_hart;

    /// The hart whose turn it is to ask, plus one; 0 for none.
    static ASKING: AtomicUsize = AtomicUsize::new(0);
    static START: AtomicUsize = AtomicUsize::new(0);
    static END: AtomicUsize = AtomicUsize::new(0);
    /// One bit for each hart that has yet to answer. Published last, read first.
    static WAITING_FOR: AtomicU64 = AtomicU64::new(0);

    pub fn ask(harts: u64, pages: Range<usize>) {
        let me = this_hart() + 1;
        while ASKING
            .compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            answer();
            core::hint::spin_loop();
        }
        START.store(pages.start, Ordering::Relaxed);
        END.store(pages.end, Ordering::Relaxed);
        WAITING_FOR.store(harts, Ordering::Release);
        #[cfg(feature = "irq")]
        (0..64)
            .filter(|hart| harts & 1 << hart != 0)
            .for_each(crate::irq::kick);
        while WAITING_FOR.load(Ordering::Acquire) != 0 {
            core::hint::spin_loop();
        }
        ASKING.store(0, Ordering::Release);
    }

    pub fn answer() {
        // With interrupts off: were this hart interrupted between reading the
        // request and answering it, the handler would answer first, and this
        // would answer the next request with a range half its own.
        let _guard = IrqsOff::new();
        let mine = 1 << this_hart();
        if WAITING_FOR.load(Ordering::Acquire) & mine != 0 {
            super::flush_here(START.load(Ordering::Relaxed)..END.load(Ordering::Relaxed));
            WAITING_FOR.fetch_and(!mine, Ordering::Release);
        }
    }
}
