//! A reader-writer lock: one thread holds it to write, or several hold it to read.

use core::sync::atomic::{AtomicUsize, Ordering};

use axfeat::axtask::WaitQueue;

/// The state while a thread holds the lock to write. Every other state is the number of
/// threads that hold it to read.
const WRITER: usize = usize::MAX;

/// The lock inside a [`RwLock`]. A reader gets it whenever no thread writes, even if a writer
/// waits. Readers that overlap all the time can therefore keep a writer waiting.
#[derive(Debug)]
pub struct RawRwLock {
    state: AtomicUsize,
    queue: WaitQueue,
}

// SAFETY: a writer gets the lock only by an atomic operation that changes the state from 0 to
// `WRITER`. Readers count the state up only from other values, so the two exclude each other.
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
        // Acquire: pairs with the Release in `unlock_exclusive`.
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more)
            .is_ok()
    }

    unsafe fn unlock_shared(&self) {
        // Release: pairs with the Acquire in `try_lock_exclusive`, so that the writer comes
        // after all reads.
        if self.state.fetch_sub(1, Ordering::Release) == 1 {
            self.queue.notify_all();
        }
    }

    fn lock_exclusive(&self) {
        self.queue.wait_until(|| self.try_lock_exclusive());
    }

    fn try_lock_exclusive(&self) -> bool {
        // Acquire: pairs with the Release in both unlocks.
        self.state
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    unsafe fn unlock_exclusive(&self) {
        // Release: pairs with the Acquire of the next reader or writer.
        self.state.store(0, Ordering::Release);
        self.queue.notify_all();
    }
}

/// A value that one thread can write, or several can read, at a time.
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
/// The right to read the value of a [`RwLock`], until it is dropped.
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
/// The right to write the value of a [`RwLock`], until it is dropped.
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;
