//! Interrupts: the timer, and interrupts from other harts.
//!
//! A hart takes interrupts only while it waits ([`wait`]), so they never interrupt code. On a
//! machine a hart must take shootdown requests at once. Here the process has one set of
//! mappings, and the hart that flushes does it for all harts.

use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use core::sync::atomic::{AtomicU32, AtomicU64};

use axconfig::MAX_HARTS;
use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};
use axplat::time::monotonic_time_nanos;

/// The interrupt that other harts send.
pub const IPI: usize = 0;
/// The interrupt of a hart's timer.
pub const TIMER: usize = 1;

const NEVER: u64 = u64::MAX;

static HANDLERS: HandlerTable<2> = HandlerTable::new();

/// The interrupt state of one hart.
struct Hart {
    /// One bit for each interrupt that is pending.
    pending: AtomicU32,
    /// When the timer fires, in nanoseconds of the clock. Only this hart accesses it, so
    /// Relaxed is enough.
    deadline: AtomicU64,
}

static HARTS: [Hart; MAX_HARTS] = [const {
    Hart {
        pending: AtomicU32::new(0),
        deadline: AtomicU64::new(NEVER),
    }
}; MAX_HARTS];

/// Sets the calling hart's timer to `deadline`, in nanoseconds of the clock. This replaces
/// an earlier deadline.
pub(crate) fn set_deadline(deadline: u64) {
    HARTS[crate::harts::this_hart()]
        .deadline
        .store(deadline, Relaxed);
}

/// Sleeps until an interrupt of the calling hart is pending, and takes all that are pending.
/// Returns one bit for each.
pub fn wait() -> u32 {
    let hart = &HARTS[crate::harts::this_hart()];
    loop {
        // Acquire: pairs with the release in `send`, so this hart sees what the sender wrote
        // before it.
        let mut pending = hart.pending.swap(0, AcqRel);
        let now = monotonic_time_nanos();
        let deadline = hart.deadline.load(Relaxed);
        if deadline <= now {
            hart.deadline.store(NEVER, Relaxed);
            pending |= 1 << TIMER;
        }
        if pending != 0 {
            return pending;
        }
        sleep(&hart.pending, deadline - now);
    }
}

/// Sleeps while `word` is 0, at most `nanos` nanoseconds. It may return earlier.
fn sleep(word: &AtomicU32, nanos: u64) {
    let timeout = libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    // SAFETY: the word is a static, and `timeout` lives until the call returns. If the
    // process loses the page of `timeout`, the call fails and writes nothing.
    unsafe {
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word.as_ptr(), wait, 0, &raw const timeout);
    }
}

/// Makes interrupt `irq` of hart `cpu_id` pending, and wakes the hart.
fn send(irq: usize, cpu_id: usize) {
    let pending = &HARTS[cpu_id].pending;
    // Release: pairs with the acquire in `wait`, so the other hart sees what this hart wrote
    // before the interrupt.
    pending.fetch_or(1 << irq, AcqRel);
    // SAFETY: the word is a static.
    unsafe {
        let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(
            libc::SYS_futex,
            pending.as_ptr(),
            wake,
            1,
            ptr::null::<u8>(),
        );
    }
}

struct Irq;

#[axplat::impl_interface]
impl IrqIf for Irq {
    /// Does nothing: interrupts are always enabled.
    fn set_enable(_irq: usize, _enabled: bool) {}

    fn register(irq: usize, handler: IrqHandler) -> bool {
        HANDLERS.register_handler(irq, handler)
    }

    fn unregister(irq: usize) -> Option<IrqHandler> {
        HANDLERS.unregister_handler(irq)
    }

    fn handle(irq: usize) {
        HANDLERS.handle(irq);
    }

    fn send_ipi(irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, |cpu_id| send(irq, cpu_id));
    }
}
