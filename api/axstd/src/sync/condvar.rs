//! Waiting until another thread changes the value in a mutex.

use core::time::Duration;

use axfeat::axtask::WaitQueue;

use super::MutexGuard;
use crate::thread::deadline;

/// The result of a wait with a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns whether the wait ended because the timeout passed.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// A condition variable: threads that wait until the value in a mutex changes.
#[derive(Debug, Default)]
pub struct Condvar(WaitQueue);

impl Condvar {
    /// Makes a condition variable without waiting threads.
    pub const fn new() -> Self {
        Self(WaitQueue::new())
    }

    /// Unlocks the mutex, waits for a notification, and locks the mutex again. The thread
    /// counts as waiting from the unlock on. It may return without a notification.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until_deadline(None, guard).0
    }

    /// Waits for notifications until `condition` no longer holds. The condition is checked
    /// with the mutex locked, first without waiting.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Unlocks the mutex, waits for a notification for at most about `duration`, and locks
    /// the mutex again. It may return without a notification.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_until_deadline(Some(deadline(duration)), guard)
    }

    fn wait_until_deadline<'a, T: ?Sized>(
        &self,
        deadline: Option<u64>,
        guard: MutexGuard<'a, T>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mutex = MutexGuard::mutex(&guard);
        let in_time = self.0.wait_after(deadline, || {
            drop(guard);
            true
        });
        (mutex.lock(), WaitTimeoutResult(!in_time))
    }

    /// Wakes the thread that has waited longest.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
