//! Making threads ready: notifications, unpark, and deadlines that have passed.

use core::sync::atomic::Ordering;

use axhal::time::monotonic_time_nanos;
use intrusive_collections::UnsafeRef;

use crate::interrupts::PREEMPTIVE;
use crate::run_queue::{run_queue_of, this_run_queue};
use crate::shared::Shared;
use crate::thread::{Thread, WaitQueue};

/// Puts a thread into its hart's run queue. If no other thread of another hart was ready, sends
/// that hart an interrupt: it may be asleep, or may have set no timer for the end of its slice.
pub(crate) fn make_ready(thread: Shared<Thread>) {
    let hart = thread.hart();
    let is_here = hart == axhal::hart::this_hart();
    let mut queue = run_queue_of(hart).lock();
    let is_only_one = queue.push_ready(thread);
    if is_here {
        queue.arm_timer();
    }
    drop(queue);
    if is_only_one && !is_here {
        axhal::irq::kick(hart);
    }
}

impl Thread {
    /// Ends the thread's wait. If it does not wait, its next wait ends at once.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.end_wait() {
            make_ready(thread);
        }
    }

    /// Makes the thread's current [`park`](crate::park) return, or else its next one.
    pub fn unpark(&self) {
        // Release: pairs with the Acquire in `park_until`, so that the parked thread sees
        // what the caller did before.
        self.permit.store(true, Ordering::Release);
        self.wake();
    }
}

impl WaitQueue {
    /// Wakes the thread that has waited longest. Returns whether any thread waited.
    pub fn notify_one(&self) -> bool {
        let mut list = self.list.lock();
        // Release: pairs with the Acquire in `wait_after`, so that a thread that reads this
        // count sees what the caller did before.
        self.notified.fetch_add(1, Ordering::Release);
        let first = list.pop_front();
        drop(list);
        wake_removed(first)
    }

    /// Wakes all threads that wait now.
    pub fn notify_all(&self) {
        // Only the threads that are in the list at the notification have to be woken. A thread
        // that enters later has checked its condition after the notification.
        let count = {
            let list = self.list.lock();
            // Release: pairs with the Acquire in `wait_after`, so that a thread that reads
            // this count sees what the caller did before.
            self.notified.fetch_add(1, Ordering::Release);
            list.iter().count()
        };
        // Waking a thread takes other locks, so the list's lock is not held meanwhile.
        for _ in 0..count {
            let first = self.list.lock().pop_front();
            wake_removed(first);
        }
    }
}

/// Wakes a thread that has been removed from a wait queue's list. Returns whether there was
/// one.
fn wake_removed(thread: Option<UnsafeRef<Thread>>) -> bool {
    let Some(thread) = thread else {
        return false;
    };
    // SAFETY: `WaitQueue::enter` put the pointer into the list, from `into_raw`, and the
    // list yields it once.
    unsafe { Shared::from_raw(UnsafeRef::into_raw(thread)) }.wake();
    true
}

/// Wakes the sleepers of this hart whose deadline is not after `now`, the monotonic time in
/// nanoseconds. Called with interrupts off.
pub(crate) fn wake_sleepers(now: u64) {
    let due = || this_run_queue().lock().pop_due_sleeper(now);
    while let Some(thread) = due() {
        thread.wake();
    }
}

/// Wakes sleepers and sets the timer in a process, where no timer interrupt does it while
/// threads run. Does nothing on a machine.
pub(crate) fn poll_sleepers() {
    if !PREEMPTIVE {
        wake_sleepers(monotonic_time_nanos());
        this_run_queue().lock().arm_timer();
    }
}
