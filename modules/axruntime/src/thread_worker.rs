//! Workers with threads: a worker that has no work lets other threads of its hart run.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axconfig::MAX_HARTS;
use axerrno::{AxError, AxResult};
use axtask::{Spawn, WaitQueue};

/// The name of a worker in reports.
const NAME: &str = "work of all harts";

/// Workers that wait for work, and the caller that waits for their end.
static PROGRESS: WaitQueue = WaitQueue::new();
/// Threads that wait to begin a call.
static CALLERS: WaitQueue = WaitQueue::new();
/// For each hart, the number of the thread that runs the hart's part of the work now. 0 for
/// none.
static RUNNING_PART: [AtomicU64; MAX_HARTS] = [const { AtomicU64::new(0) }; MAX_HARTS];
/// Whether the first hart has a worker.
static HAS_FIRST_WORKER: AtomicBool = AtomicBool::new(false);

/// Makes the code that runs on this hart its worker, as the hart's first thread. Returns
/// whether there was memory for that.
pub(crate) fn init_worker() -> bool {
    axtask::init_hart(NAME).is_ok()
}

/// Begins a call, once no other call is in progress.
///
/// # Errors
///
/// `BadState` if the calling thread runs a part of the work that is in progress.
pub(crate) fn begin_call(is_called: &AtomicBool) -> AxResult {
    let me = axtask::current();
    // Relaxed: only this thread itself stores its number there or removes it.
    if RUNNING_PART[me.hart()].load(Ordering::Relaxed) == me.id() {
        return Err(AxError::BadState);
    }
    // Acquire: pairs with the Release in `end_call`.
    CALLERS.wait_until(|| !is_called.swap(true, Ordering::Acquire));
    Ok(())
}

/// Ends a call, so that the next one may begin.
pub(crate) fn end_call(is_called: &AtomicBool) {
    // Release: pairs with the Acquire in `begin_call`.
    is_called.store(false, Ordering::Release);
    CALLERS.notify_one();
}

/// Starts the first hart's worker, which runs `run`. Does nothing if that worker exists, or
/// if the hart `caller` is the first. The calling thread has begun a call.
///
/// # Errors
///
/// `NoMemory` if there is no memory for the worker.
pub(crate) fn start_first_worker(caller: usize, run: impl FnOnce() + Send + 'static) -> AxResult {
    // Relaxed, here and below: calls are serialized, which orders all accesses.
    if caller == 0 || HAS_FIRST_WORKER.load(Ordering::Relaxed) {
        return Ok(());
    }
    let spawn = Spawn {
        name: NAME.into(),
        hart: Some(0),
        ..Spawn::default()
    };
    axtask::spawn(spawn, run)?;
    HAS_FIRST_WORKER.store(true, Ordering::Relaxed);
    Ok(())
}

/// Runs a hart's part of the work in the calling thread.
pub(crate) fn run_part(hart: usize, work: impl FnOnce()) {
    // Relaxed, here and below: other threads compare the number only with their own.
    RUNNING_PART[hart].store(axtask::current().id(), Ordering::Relaxed);
    work();
    RUNNING_PART[hart].store(0, Ordering::Relaxed);
}

/// Makes the workers and the caller check what they wait for.
pub(crate) fn wake(_harts: u64) {
    PROGRESS.notify_all();
}

/// Waits until `condition` holds, with interrupts on.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    axhal::arch::enable_irqs();
    PROGRESS.wait_until(condition);
}
