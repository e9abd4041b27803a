//! Work that is done once, by the first thread that asks for it.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::Mutex;

/// Runs a function once, however many threads ask for it.
#[derive(Debug)]
pub struct Once {
    is_done: AtomicBool,
    /// Held while the function runs, so that other callers wait for its end.
    running: Mutex<()>,
}

impl Once {
    /// Makes a `Once` that has not run a function yet.
    pub const fn new() -> Self {
        Self {
            is_done: AtomicBool::new(false),
            running: Mutex::new(()),
        }
    }

    /// Runs `f`, unless an earlier call has run its function. If another thread is running
    /// it, waits until that has finished. `f` must not call this method of the same `Once`,
    /// since it would wait for itself.
    pub fn call_once(&self, f: impl FnOnce()) {
        if self.is_completed() {
            return;
        }
        let _running = self.running.lock();
        if !self.is_completed() {
            f();
            // Release: pairs with the Acquire in `is_completed`, so that a thread that sees
            // the work done sees its effects.
            self.is_done.store(true, Ordering::Release);
        }
    }

    /// Returns whether a call has run its function to the end.
    pub fn is_completed(&self) -> bool {
        // Acquire: pairs with the Release in `call_once`.
        self.is_done.load(Ordering::Acquire)
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that is set once.
pub struct OnceLock<T> {
    once: Once,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one thread, inside `once`, and read only after `once` has
// completed. `Send` lets that thread be another one than the one that drops the value.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Makes a lock whose value has not been set.
    pub const fn new() -> Self {
        Self {
            once: Once::new(),
            value: UnsafeCell::new(None),
        }
    }

    /// Returns the value, or `None` if it has not been set.
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: `once` has completed, so the value has been written and is not written
        // again while `self` is borrowed.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// Returns `value` if a value has been set already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        // SAFETY: inside `once`, this is the only thread that writes the value. `get` reads it
        // only after `once` has completed.
        self.once
            .call_once(|| unsafe { *self.value.get() = value.take() });
        value.map_or(Ok(()), Err)
    }

    /// Returns the value. If it has not been set, sets it to the result of `f` first. `f` must
    /// not use this lock, since it would wait for itself.
    #[expect(clippy::expect_used, reason = "the value has just been set")]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        // SAFETY: inside `once`, this is the only thread that writes the value. `get` reads it
        // only after `once` has completed.
        self.once
            .call_once(|| unsafe { *self.value.get() = Some(f()) });
        self.get().expect("a value")
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}
