//! Running a function once on every hart ([`run_on_all`]).
//!
//! Calls are serialized. The caller publishes the work, sets a pending bit for each other
//! hart, and runs its own part. The worker of a hart whose bit is set runs the work and
//! clears the bit when it has finished. The call is complete when no bit is set.
//!
//! ```text
//!   caller                          worker of each other hart
//!   ──────                          ─────────────────────────
//!   WORK = work                     waits until its bit is set
//!   PENDING = others  ── wake ────► reads WORK, runs its part
//!   runs its own part               clears its bit in PENDING
//!   waits until PENDING == 0 ◄─ wake (the hart that clears the last bit)
//!   WORK = None
//! ```
//!
//! With threads (`thread_worker`), each worker is a thread and takes turns with the other
//! threads of its hart. On all harts but the first it is the hart's first thread, on the
//! hart's own stack, so that a call allocates nothing. The first hart's first thread is
//! `main`. That hart gets a worker thread when a thread of another hart calls for the first
//! time. Without threads (`hart_worker`), only the first hart calls, and each other hart
//! sleeps until it has work.
//!
//! Locks: `IS_CALLED`, held for a whole call. Inside it `WORK`, held to read or replace a
//! reference.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axerrno::AxResult;
use axhal::hart;
use kspin::SpinNoIrq;

#[cfg(not(feature = "multitask"))]
use crate::hart_worker as worker;
#[cfg(feature = "multitask")]
use crate::thread_worker as worker;

pub(crate) use worker::init_worker;

/// A function for every hart, which gets the hart's number.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// The work of the current call. It may be used by harts whose bit in `PENDING` is set.
static WORK: SpinNoIrq<Option<Work<'static>>> = SpinNoIrq::new(None);
/// One bit for each hart that has not finished its part, without the caller's.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// The caller's hart, which is woken at the end. [`NO_CALLER`] before the first call.
static CALLER: AtomicUsize = AtomicUsize::new(NO_CALLER);
const NO_CALLER: usize = usize::MAX;
/// Whether a call is in progress: the lock that serializes calls.
static IS_CALLED: AtomicBool = AtomicBool::new(false);

/// Runs `work` once on every online hart, the caller's included, at the same time. Returns
/// when all have finished. `work` gets the hart's number.
///
/// With threads, a thread of any hart may call it. Calls are serialized, so work that waits
/// for another thread's call of this function waits for ever.
///
/// # Errors
///
/// - `BadState` if the caller runs as part of such work, since it would wait for itself.
/// - `NoMemory` if there is no memory for the first hart's worker. The first call from another
///   hart starts that worker.
///
/// `work` has not run on any hart then.
pub fn run_on_all(work: &(dyn Fn(usize) + Sync)) -> AxResult {
    worker::begin_call(&IS_CALLED)?;
    let me = hart::this_hart();
    let started = worker::start_first_worker(me, || wait_for_work(0));
    if started.is_ok() {
        publish_and_run(work, me);
    }
    worker::end_call(&IS_CALLED);
    started
}

/// Runs `work` on all harts. The caller runs on hart `me` and has begun a call.
fn publish_and_run(work: &(dyn Fn(usize) + Sync), me: usize) {
    let others = hart::online() & !(1 << me);
    // SAFETY: other harts use the reference only while their bit in `PENDING` is set. This
    // function returns after all bits are clear, and `work` lives until then.
    let shared: Work<'static> = unsafe { core::mem::transmute(work) };
    *WORK.lock() = Some(shared);
    // Relaxed: the store of `PENDING` below publishes it.
    CALLER.store(me, Ordering::Relaxed);
    // Release: pairs with the Acquire in `is_pending`, so that a hart that sees its bit sees
    // the work and the caller.
    PENDING.store(others, Ordering::Release);
    worker::wake(others);
    worker::run_part(me, || work(me));
    // Acquire: pairs with the Release of each hart that clears its bit, so that the caller
    // sees everything that the work did.
    worker::wait_until(|| PENDING.load(Ordering::Acquire) == 0);
    *WORK.lock() = None;
}

/// Returns whether there is work for the hart whose bit is `mine`.
///
/// In an image without a call of [`run_on_all`], nothing writes `CALLER`. The compiler then
/// knows that this is false, and removes the rest of [`wait_for_work`] from the image.
fn is_pending(mine: u64) -> bool {
    // Acquire: pairs with the Release in `publish_and_run`. Relaxed: `CALLER` was written
    // before the bit was set.
    PENDING.load(Ordering::Acquire) & mine != 0 && CALLER.load(Ordering::Relaxed) != NO_CALLER
}

/// The worker of hart `number`: runs its part of each call.
pub(crate) fn wait_for_work(number: usize) -> ! {
    let mine = 1 << number;
    loop {
        worker::wait_until(|| is_pending(mine));
        let work = *WORK.lock();
        // Relaxed: `is_pending` has acquired it. It is read before the bit is cleared,
        // because the next caller, which may be another hart, writes it after that.
        let caller = CALLER.load(Ordering::Relaxed);
        if let Some(work) = work {
            worker::run_part(number, || work(number));
        }
        // Release: pairs with the Acquire of the caller. Acquire: the hart that clears the
        // last bit has seen the other harts' parts before it wakes the caller.
        if PENDING.fetch_and(!mine, Ordering::AcqRel) == mine {
            worker::wake(1 << caller);
        }
    }
}
