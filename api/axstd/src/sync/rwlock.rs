//! A lock that one thread has to write, or many have to read.

use core::sync::atomic::{AtomicUsize, Ordering};

use axfeat::axtask::WaitQueue;

/// One thread has it to write. Any other number is how many have it to read.
const WRITER: usize = usize::MAX;

/// The lock of a [`RwLock`]. Whoever comes when it can be had gets it: readers that follow
/// each other closely can keep a writer waiting.
#[derive(Debug)]
pub struct RawRwLock {
    state: AtomicUsize,
    queue: WaitQueue,
}

// SAFETY: the state leaves 0 for `WRITER` by one thread's atomic operation, and is counted
// up for readers from other values only.
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: Self = Self {
        state: AtomicUsize::new(0),
        queue: WaitQueue::new(),
    };

    type GuardMarker = lock_api::GuardSend;

    fn lock_shared(&self) {
        self.queue.wait_until(|| self.try_lock_shared());
    }

    fn try_lock_shared(&self) -> bool {
        let one_more = |readers| (readers < WRITER - 1).then(|| readers + 1);
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more)
            .is_ok()
    }

    unsafe fn unlock_shared(&self) {
        if self.state.fetch_sub(1, Ordering::Release) == 1 {
            self.queue.notify_all();
        }
    }

    fn lock_exclusive(&self) {
        self.queue.wait_until(|| self.try_lock_exclusive());
    }

    fn try_lock_exclusive(&self) -> bool {
        self.state
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    unsafe fn unlock_exclusive(&self) {
        self.state.store(0, Ordering::Release);
        self.queue.notify_all();
    }
}

/// A value that one thread writes, or many read.
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
/// The right to read it.
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
/// The right to write it.
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;
