//! Interrupts: the timer, and other harts.
//!
//! A hart takes them where it waits ([`wait`]) and nowhere else, so that there is no
//! code that one could disturb. That is enough: what a hart must not put off, to
//! forget translations, one hart does for all of the process.

use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use core::sync::atomic::{AtomicU32, AtomicU64};

use axconfig::MAX_HARTS;
use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};
use axplat::time::monotonic_time_nanos;

/// Another hart asks for attention.
pub const IPI: usize = 0;
/// A hart's timer.
pub const TIMER: usize = 1;

const NEVER: u64 = u64::MAX;

static HANDLERS: HandlerTable<2> = HandlerTable::new();

/// A hart's own.
struct Hart {
    /// One bit for each interrupt that it has yet to take.
    pending: AtomicU32,
    /// When its timer rings.
    deadline: AtomicU64,
}

static HARTS: [Hart; MAX_HARTS] = [const {
    Hart {
        pending: AtomicU32::new(0),
        deadline: AtomicU64::new(NEVER),
    }
}; MAX_HARTS];

/// Lets the calling hart's timer ring at `deadline`, in place of an earlier wish.
pub fn set_deadline(deadline: u64) {
    HARTS[crate::harts::this_hart()]
        .deadline
        .store(deadline, Relaxed);
}

/// Sleeps until the calling hart has an interrupt to take, and answers with one bit
/// for each.
pub fn wait() -> u32 {
    let hart = &HARTS[crate::harts::this_hart()];
    loop {
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

/// Sleeps while `word` is 0, `nanos` at most; it may be less.
fn sleep(word: &AtomicU32, nanos: u64) {
    let most = libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    };
    // SAFETY: waits on a word that is there for good, for a time that is there
    // meanwhile; were its page to vanish, the call would end at once.
    unsafe {
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word.as_ptr(), wait, 0, &raw const most);
    }
}

fn send(irq: usize, cpu_id: usize) {
    let pending = &HARTS[cpu_id].pending;
    pending.fetch_or(1 << irq, AcqRel);
    // SAFETY: wakes who waits on a word that is there for good.
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
    /// Both are always let in.
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
