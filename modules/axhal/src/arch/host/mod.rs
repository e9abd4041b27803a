//! A process of Linux on x86_64. Each name means what it does on a machine:
//!
//! ```text
//!   a trap           a signal, taken on a stack of its own (`trap`)
//!   the TLB          the process's mappings of physical memory (`paging`)
//!   a page walker    the handler of SIGSEGV (`trap`, `paging`)
//!   the lower half   one address space's at a time (`user`)
//!   an interrupt     taken where a hart waits: `wait_for_irqs`
//! ```
//!
//! Code that runs in the processor's user mode as well is that of `x86_64`: the page
//! table's format, zeroing, probes, copies.

#[cfg(feature = "multitask")]
#[path = "../x86_64/context.rs"]
mod context;
#[cfg(feature = "paging")]
#[path = "../x86_64/copy.rs"]
mod copy;
#[cfg(feature = "paging")]
mod paging;
#[path = "../x86_64/probe.rs"]
mod probe;
mod trap;
#[cfg(feature = "paging")]
mod user;
#[path = "../x86_64/zero.rs"]
mod zero;

#[cfg(feature = "multitask")]
pub use context::*;
#[cfg(feature = "paging")]
pub use copy::probe_copy;
/// Keeps interrupts out as long as it lives: there are none where it could.
pub use kernel_guard::IrqSave as IrqsOff;
#[cfg(feature = "irq")]
pub use linux_host::irq::{IPI as IPI_IRQ, TIMER as TIMER_IRQ};
#[cfg(all(feature = "multitask", feature = "paging"))]
pub use paging::flush_fresh;
#[cfg(feature = "paging")]
pub use paging::{
    FORGETS_EVERYWHERE, MOST_PAGES, ONE_ROOT, PagingMeta, Pte, clean_code, fetch_anew,
    flush_all_asids, flush_tlb_all, flush_tlb_page, largest_page, needs_cleaning, page_mark,
    publish_entries, read_root, remote_fetch_anew, remote_flush, write_root,
};
pub use probe::{probe_execute, probe_read, probe_write};
pub(crate) use trap::init_trap;
pub use trap::{TrapFrame, capture};
#[cfg(feature = "paging")]
pub use user::{claim_user, enter_user, flush_asid, leave_user, max_asid};
pub use zero::{init_zeroing, zero_pages};

/// Lets interrupts in: nothing changes, see [`irqs_enabled`].
pub fn enable_irqs() {}

/// Keeps interrupts out: nothing changes, see [`irqs_enabled`].
pub fn disable_irqs() {}

/// A hart takes interrupts whenever it waits, but for a page fault's handler, and at no
/// other time.
pub fn irqs_enabled() -> bool {
    !trap::is_resolving()
}

/// Sleeps until an interrupt is pending, and takes all that are.
#[cfg(feature = "irq")]
pub fn wait_for_irqs() {
    let pending = linux_host::irq::wait();
    for irq in (0..u32::BITS as usize).filter(|irq| pending & 1 << irq != 0) {
        axplat::irq::handle(irq);
    }
}

/// Sleeps for ever, deaf.
pub fn halt() -> ! {
    loop {
        // SAFETY: waiting for a signal changes nothing.
        unsafe { libc::pause() };
    }
}
