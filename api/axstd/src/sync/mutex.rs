//! A lock that one thread has at a time.

use core::sync::atomic::{AtomicU8, Ordering};

use axfeat::axtask::WaitQueue;

const FREE: u8 = 0;
const LOCKED: u8 = 1;
/// Locked, and somebody may be waiting.
const WANTED: u8 = 2;

/// The lock of a [`Mutex`].
#[derive(Debug)]
pub struct RawMutex {
    state: AtomicU8,
    queue: WaitQueue,
}

// SAFETY: the state leaves `FREE` by one thread's atomic operation, and goes back to it by
// `unlock` alone.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: Self = Self {
        state: AtomicU8::new(FREE),
        queue: WaitQueue::new(),
    };

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            let free = || self.state.swap(WANTED, Ordering::Acquire) == FREE;
            self.queue.wait_until(free);
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.state
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        if self.state.swap(FREE, Ordering::Release) == WANTED {
            self.queue.notify_one();
        }
    }

    fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }
}

/// A value that one thread uses at a time.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// The right to use it, which ends when this goes.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
