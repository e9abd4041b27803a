//! Threads that may borrow: they end before what they borrow does.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::multi::{Builder, JoinHandle, Thread, current, park};
use crate::io;

/// What threads that may borrow are spawned in: [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    /// How many of them have yet to end.
    left: AtomicUsize,
    owner: Thread,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The right to wait for such a thread's end, and to its result.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    scope: PhantomData<&'scope ()>,
}

/// Calls `f`, which may spawn threads that borrow what is there now, and returns when all
/// of those have ended.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        left: AtomicUsize::new(0),
        owner: current(),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = f(&scope);
    while scope.left.load(Ordering::Acquire) > 0 {
        park();
    }
    result
}

impl<'scope> Scope<'scope, '_> {
    /// Begins a thread that runs `f`.
    ///
    /// # Panics
    ///
    /// Without memory for it; [`Builder::spawn_scoped`] answers that as an error.
    #[expect(clippy::expect_used, reason = "as std's, it has no other answer")]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let handle = Builder::new().spawn_scoped(self, f);
        handle.expect("failed to spawn thread")
    }
}

impl Builder {
    /// Begins a thread of `scope` that runs `f`.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.left.fetch_add(1, Ordering::Relaxed);
        let last = move || {
            let owner = scope.owner.clone();
            // From here on the scope may be gone.
            if scope.left.fetch_sub(1, Ordering::Release) == 1 {
                owner.unpark();
            }
        };
        // SAFETY: the scope, and with it all that `f` borrows, is there until its count
        // is 0 again. The result is touched after that only by who has the handle, which
        // lives no longer than what the result borrows.
        let handle = unsafe { self.spawn_borrowing(f, last) };
        if handle.is_err() {
            scope.left.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(ScopedJoinHandle {
            handle: handle?,
            scope: PhantomData,
        })
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`].
    pub fn join(self) -> io::Result<T> {
        self.handle.join()
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}
