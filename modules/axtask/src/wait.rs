//! Waiting for a condition that another thread will make true.

use core::sync::atomic::{AtomicUsize, Ordering};

use axhal::time::monotonic_time_nanos;
use intrusive_collections::{LinkedList, LinkedListAtomicLink, UnsafeRef, intrusive_adapter};

use crate::schedule::block;
use crate::thread::{Thread, current};
use crate::{Lock, Shared};

intrusive_adapter!(Waiting = UnsafeRef<Thread>: Thread { waiting => LinkedListAtomicLink });

/// Threads that wait, in the order in which they came.
///
/// Every notification is counted. A thread reads the count, looks at its condition, with
/// interrupts in and no lock held, and joins the others only if the count is what it was.
/// So whoever makes the condition true and notifies then finds it there, or makes it look
/// again. Nobody is taken out who has another reason to go.
#[derive(Debug)]
pub struct WaitQueue {
    /// The list owns those that are in it.
    list: Lock<LinkedList<Waiting>>,
    /// How many notifications there have been; changes under the lock.
    notified: AtomicUsize,
}

// SAFETY: the list is of threads, which are made to be shared, and under a lock.
unsafe impl Sync for WaitQueue {}
// SAFETY: as above.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self {
            list: Lock::new(LinkedList::new(Waiting::NEW)),
            notified: AtomicUsize::new(0),
        }
    }

    /// Waits until `condition` holds. It is looked at now, and after each notification.
    pub fn wait_until(&self, condition: impl FnMut() -> bool) {
        self.wait_until_or(None, condition);
    }

    /// As [`wait_until`](Self::wait_until), but not beyond the monotonic time `deadline`,
    /// in nanoseconds, if there is one. Answers whether the condition holds.
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

    /// Calls `before`, and if that says so waits for a notification from then on, but not
    /// beyond the monotonic time `deadline`, in nanoseconds. Answers whether none was
    /// wanted, or one came in time. It may answer that without one.
    pub fn wait_after(&self, deadline: Option<u64>, before: impl FnOnce() -> bool) -> bool {
        let seen = self.notified.load(Ordering::Acquire);
        if !before() {
            return true;
        }
        let me = current();
        if !self.enter(&me, seen) {
            return true;
        }
        while me.waiting.is_linked() {
            if deadline.is_some_and(|deadline| monotonic_time_nanos() >= deadline) {
                return !self.take_out(&me);
            }
            block(deadline);
        }
        true
    }

    /// Wakes who has waited longest. Answers whether there was anyone.
    pub fn notify_one(&self) -> bool {
        let mut list = self.list.lock();
        self.notified.fetch_add(1, Ordering::Release);
        let first = list.pop_front();
        drop(list);
        wake(first)
    }

    /// Wakes all that wait now.
    pub fn notify_all(&self) {
        // Counted together with the notification: who enters from then on has looked
        // after it. They wake one at a time, so that no other lock is taken under this one.
        let all = {
            let list = self.list.lock();
            self.notified.fetch_add(1, Ordering::Release);
            list.iter().count()
        };
        for _ in 0..all {
            let first = self.list.lock().pop_front();
            wake(first);
        }
    }

    /// Joins the others, unless there have been other notifications than `seen`.
    fn enter(&self, me: &Shared<Thread>, seen: usize) -> bool {
        let mut list = self.list.lock();
        if self.notified.load(Ordering::Relaxed) != seen {
            return false;
        }
        // SAFETY: the list owns the thread until it is taken out.
        list.push_back(unsafe { UnsafeRef::from_raw(me.clone().into_raw()) });
        true
    }

    /// Takes `me`, which has entered, out again, unless a notification has.
    fn take_out(&self, me: &Shared<Thread>) -> bool {
        let mut list = self.list.lock();
        if !me.waiting.is_linked() {
            return false;
        }
        // SAFETY: a thread waits in one queue at a time, and `me`, which runs this, has
        // entered this one.
        let own = unsafe { list.cursor_mut_from_ptr(&raw const **me) }.remove();
        drop(list);
        // SAFETY: as in `wake`.
        drop(own.map(|own| unsafe { Shared::from_raw(UnsafeRef::into_raw(own)) }));
        true
    }
}

/// Wakes a thread that has been taken out of its list. Answers whether there was one.
fn wake(thread: Option<UnsafeRef<Thread>>) -> bool {
    let Some(thread) = thread else {
        return false;
    };
    // SAFETY: `enter` has given it away, once for each time it comes out.
    unsafe { Shared::from_raw(UnsafeRef::into_raw(thread)) }.wake();
    true
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
