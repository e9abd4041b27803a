//! Giving up the hart until a notification or a deadline.

use core::sync::atomic::Ordering;

use axhal::arch::IrqsOff;
use axhal::power::{fail, is_ending};
use axhal::threads::may_switch;
use axhal::time::monotonic_time_nanos;
use intrusive_collections::UnsafeRef;

use crate::current::current;
use crate::run_queue::this_run_queue;
use crate::schedule::{SwitchReason, schedule};
use crate::shared::Shared;
use crate::thread::{Thread, WaitQueue};

/// Waits until the calling thread is woken, or until the monotonic time `deadline` in
/// nanoseconds. It may return early, so callers check what they wait for and call again.
fn block(deadline: Option<u64>) {
    if is_ending() {
        return spin_while_ending(deadline);
    }
    debug_assert!(may_switch(), "a thread waits while it holds a NoPreempt");
    let _irqs_off = IrqsOff::new();
    let me = current();
    if !me.begin_wait(me.clone()) {
        return;
    }
    if let Some(deadline) = deadline {
        this_run_queue().lock().add_sleeper(deadline, me.clone());
    }
    schedule(SwitchReason::Wait);
    if deadline.is_some() {
        this_run_queue().lock().remove_sleeper(&me);
    }
}

/// Waits on the hart that ends the machine, where no other thread runs any more. With a
/// deadline it spins until then. Without one the wait could not end, so that is a failure.
#[cold]
fn spin_while_ending(deadline: Option<u64>) {
    let Some(deadline) = deadline else {
        fail(
            format_args!("a thread waits for another one while the machine ends"),
            format_args!(""),
        );
    };
    while monotonic_time_nanos() < deadline {
        core::hint::spin_loop();
    }
}

/// Waits until the monotonic time `deadline`, in nanoseconds. Never returns early.
pub fn sleep_until(deadline: u64) {
    while monotonic_time_nanos() < deadline {
        block(Some(deadline));
    }
}

/// Waits until another thread [unparks](Thread::unpark) the calling one. Returns at once if
/// that has happened since its last `park`.
pub fn park() {
    park_until(None);
}

/// Parks the calling thread like [`park`], at most until the monotonic time `deadline` in
/// nanoseconds. Returns whether it was unparked.
pub fn park_until(deadline: Option<u64>) -> bool {
    let me = current();
    loop {
        // Acquire: pairs with the Release in `Thread::unpark`, so that this thread sees
        // what the other one did before.
        if me.permit.swap(false, Ordering::Acquire) {
            return true;
        }
        if is_over(deadline) {
            return false;
        }
        block(deadline);
    }
}

impl Thread {
    /// Waits until the thread has ended and has been reaped. A thread that joins itself
    /// waits for ever.
    pub fn join(&self) {
        self.joiners.wait_until(|| self.has_ended());
    }
}

impl WaitQueue {
    /// Waits until `condition` holds. It is checked now, and again after each notification.
    pub fn wait_until(&self, condition: impl FnMut() -> bool) {
        self.wait_until_or(None, condition);
    }

    /// Waits until `condition` holds, at most until the monotonic time `deadline` in
    /// nanoseconds. The condition is checked now, and again after each notification.
    /// Returns whether it holds.
    pub fn wait_until_or(
        &self,
        deadline: Option<u64>,
        mut condition: impl FnMut() -> bool,
    ) -> bool {
        loop {
            let mut holds = false;
            let in_time = self.wait_after(deadline, || {
                holds = condition();
                !holds
            });
            if holds || !in_time {
                return holds || condition();
            }
        }
    }

    /// Calls `must_wait`. If it returns true, waits for a notification that comes after that
    /// call began, at most until the monotonic time `deadline` in nanoseconds.
    ///
    /// Returns false if the deadline passed without a notification, else true. It may
    /// return true without a notification.
    pub fn wait_after(&self, deadline: Option<u64>, must_wait: impl FnOnce() -> bool) -> bool {
        // Acquire: pairs with the Release in `notify_one` and `notify_all`. If this read
        // counts a notification, `must_wait` sees what the notifying thread did before it.
        let seen = self.notified.load(Ordering::Acquire);
        if !must_wait() {
            return true;
        }
        let me = current();
        if !self.enter(&me, seen) {
            return true;
        }
        while me.wait_link.is_linked() {
            if is_over(deadline) {
                return !self.leave(&me);
            }
            block(deadline);
        }
        // The notification held the lock when it took this thread out of the list. So this thread
        // now sees what the notifying one did before.
        drop(self.list.lock());
        true
    }

    /// Puts `me` into the list if the count of notifications is still `seen`. Returns whether
    /// it did.
    fn enter(&self, me: &Shared<Thread>, seen: usize) -> bool {
        let mut list = self.list.lock();
        // Relaxed: the count changes only under the list's lock.
        if self.notified.load(Ordering::Relaxed) != seen {
            return false;
        }
        // SAFETY: the reference that `into_raw` releases keeps the thread until it is taken
        // out of the list, by a notification or by `leave`.
        list.push_back(unsafe { UnsafeRef::from_raw(me.clone().into_raw()) });
        true
    }

    /// Takes the calling thread `me`, which has entered, out of the list. Returns false if a
    /// notification has done that already.
    fn leave(&self, me: &Shared<Thread>) -> bool {
        let mut list = self.list.lock();
        if !me.wait_link.is_linked() {
            return false;
        }
        // SAFETY: `me` is linked, as just checked under the lock. A thread enters one queue
        // at a time, and the caller has entered this one.
        let own = unsafe { list.cursor_mut_from_ptr(&raw const **me) }.remove();
        drop(list);
        // SAFETY: `enter` put the pointer into the list, from `into_raw`, and the list
        // yields it once.
        drop(own.map(|own| unsafe { Shared::from_raw(UnsafeRef::into_raw(own)) }));
        true
    }
}

/// Returns whether the deadline, in nanoseconds of monotonic time, has passed.
fn is_over(deadline: Option<u64>) -> bool {
    deadline.is_some_and(|deadline| monotonic_time_nanos() >= deadline)
}
