//! Waiting for what another thread does to a mutex's value.

use core::time::Duration;

use axfeat::axtask::WaitQueue;

use super::MutexGuard;
use crate::thread::deadline;

/// Whether a wait ended because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether it did.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// Threads that wait for a mutex's value to change.
#[derive(Debug, Default)]
pub struct Condvar(WaitQueue);

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self(WaitQueue::new())
    }

    /// Unlocks the mutex, waits for a notification from then on, and locks it again. It
    /// may return without a notification.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_to(None, guard).0
    }

    /// As [`wait`](Self::wait), as long as `condition` holds.
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

    /// As [`wait`](Self::wait), for at most about `duration`.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_to(Some(deadline(duration)), guard)
    }

    fn wait_to<'a, T: ?Sized>(
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

    /// Wakes one of those that wait.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
