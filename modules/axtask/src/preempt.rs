//! What an interrupt does about threads: wakes sleepers, and ends a slice that is over.

use core::ops::Range;

use axhal::time::monotonic_time_nanos;

use crate::current::this_thread;
use crate::run_queue::{RunQueue, this_run_queue};
use crate::schedule::{SwitchReason, schedule};
use crate::thread::Thread;
use crate::wake::wake_sleepers;

/// Returns why the running thread `me` must give up the hart at `now`, the monotonic time in
/// nanoseconds. Returns `None` if it goes on.
fn reason_to_switch(queue: &RunQueue, me: &Thread, now: u64) -> Option<SwitchReason> {
    let is_idle = queue.idle.as_ref().is_some_and(|idle| idle.id() == me.id());
    match (queue.has_ready(), is_idle) {
        (false, _) => None,
        (true, true) => Some(SwitchReason::IdleDone),
        (true, false) => (now >= queue.slice_end).then_some(SwitchReason::Yield),
    }
}

struct Threads;

#[crate_interface::impl_interface]
impl axhal::threads::ThreadsIf for Threads {
    fn after_irq() {
        let Some(me) = this_thread() else {
            return;
        };
        let now = monotonic_time_nanos();
        wake_sleepers(now);
        let mut queue = this_run_queue().lock();
        queue.arm_timer();
        let reason = reason_to_switch(&queue, me, now);
        drop(queue);
        if let Some(reason) = reason {
            schedule(reason);
        }
    }

    fn current_guard() -> Range<usize> {
        let with_own_stack = this_thread().filter(|thread| thread.has_own_stack());
        with_own_stack.map_or(0..0, Thread::guard)
    }

    fn current_name() -> Option<(u64, &'static str)> {
        this_thread().map(|thread| (thread.id(), thread.name()))
    }
}
