//! Mutual exclusion: a lock that one thread holds at a time.

use core::sync::atomic::{AtomicU8, Ordering};

use axfeat::axtask::WaitQueue;

const FREE: u8 = 0;
const LOCKED: u8 = 1;
/// Locked, and other threads may be waiting.
const CONTENDED: u8 = 2;

/// The lock inside a [`Mutex`].
#[derive(Debug)]
pub struct RawMutex {
    state: AtomicU8,
    queue: WaitQueue,
}

// SAFETY: a thread gets the lock only by an atomic operation that finds `FREE` and stores
// another state. Only `unlock` stores `FREE`, so one thread holds the lock at a time.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: Self = Self {
        state: AtomicU8::new(FREE),
        queue: WaitQueue::new(),
    };

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            // `CONTENDED` even if this call gets the lock, since other threads may still wait.
            // Acquire: pairs with the Release in `unlock`.
            let try_contended = || self.state.swap(CONTENDED, Ordering::Acquire) == FREE;
            self.queue.wait_until(try_contended);
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`, so that the value that the last
        // holder left is visible.
        self.state
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // Release: pairs with the Acquire in `lock` and `try_lock`.
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            self.queue.notify_one();
        }
    }

    fn is_locked(&self) -> bool {
        // Relaxed: the answer may be out of date as soon as it is given.
        self.state.load(Ordering::Relaxed) != FREE
    }
}

/// A value that one thread can use at a time.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// The right to use the value of a [`Mutex`]. Dropping it unlocks the mutex.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
