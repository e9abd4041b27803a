//! What is done once, by whoever comes first.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::Mutex;

/// Work that is done once.
#[derive(Debug)]
pub struct Once {
    done: AtomicBool,
    turn: Mutex<()>,
}

impl Once {
    /// It has not been done.
    pub const fn new() -> Self {
        Self {
            done: AtomicBool::new(false),
            turn: Mutex::new(()),
        }
    }

    /// Does it unless it has been done; when this returns it has. `f` must not come here.
    pub fn call_once(&self, f: impl FnOnce()) {
        if self.is_completed() {
            return;
        }
        let _turn = self.turn.lock();
        if !self.is_completed() {
            f();
            self.done.store(true, Ordering::Release);
        }
    }

    /// Whether it has been done.
    pub fn is_completed(&self) -> bool {
        self.done.load(Ordering::Acquire)
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

// SAFETY: the value is written by one thread, under `once`, and read after that.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// It has not been set.
    pub const fn new() -> Self {
        Self {
            once: Once::new(),
            value: UnsafeCell::new(None),
        }
    }

    /// The value, if it has been set.
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: it has been written, and is not written again.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// Sets it, if it has not been.
    ///
    /// # Errors
    ///
    /// `value`, if it has been.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        // SAFETY: nobody reads it before this is over, and nobody else writes.
        self.once
            .call_once(|| unsafe { *self.value.get() = value.take() });
        value.map_or(Ok(()), Err)
    }

    /// The value, set to what `f` answers if it has not been. `f` must not come here.
    #[expect(clippy::expect_used, reason = "it has just been set")]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        // SAFETY: as in `set`.
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
