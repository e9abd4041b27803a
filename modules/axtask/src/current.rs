//! The thread that runs on this hart.

use core::mem::ManuallyDrop;
use core::ptr::with_exposed_provenance;

use crate::shared::Shared;
use crate::thread::Thread;

/// The address of the running thread's record, of which the hart owns one reference. 0
/// before the hart's first thread.
#[percpu::def_percpu]
static CURRENT: usize = 0;

/// Makes `thread` the running thread of this hart. Returns the one before it, if there was one.
pub(crate) fn replace_current(thread: Shared<Thread>) -> Option<Shared<Thread>> {
    let before = CURRENT.read_current();
    CURRENT.write_current(thread.into_raw().expose_provenance());
    // SAFETY: an earlier call of this function stored the address, which came from
    // `into_raw`. It has just been overwritten, so it is taken back once.
    (before != 0).then(|| unsafe { Shared::from_raw(with_exposed_provenance(before)) })
}

/// Returns the calling thread, or `None` on a hart that runs no threads yet.
pub(crate) fn this_thread() -> Option<&'static Thread> {
    let current: *const Thread = with_exposed_provenance(CURRENT.read_current());
    // SAFETY: a thread stays on one hart, and `CURRENT` names it whenever it runs. So the
    // caller reads its own address even if it is interrupted here. The hart's reference
    // keeps the record as long as the thread runs, which outlasts the caller's use.
    unsafe { current.as_ref() }
}

/// Returns the number of the calling thread, or `None` on a hart that runs no threads.
pub fn current_id() -> Option<u64> {
    this_thread().map(Thread::id)
}

/// Returns the calling thread. The hart must have called [`init_hart`](crate::init_hart).
pub fn current() -> Shared<Thread> {
    let current = CURRENT.read_current();
    // SAFETY: `CURRENT` holds an address from `into_raw` since `init_hart`, and it is the
    // calling thread's own. `ManuallyDrop` leaves the reference with the hart.
    let own =
        ManuallyDrop::new(unsafe { Shared::from_raw(with_exposed_provenance::<Thread>(current)) });
    Shared::clone(&own)
}
