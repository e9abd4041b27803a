//! Scoped threads, which may borrow: they end before the values that they borrow.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::multi::{Builder, JoinHandle, Thread, current, park};
use crate::io;

/// A scope in which threads that may borrow can be spawned. See [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    /// The number of threads that have not finished their work.
    running: AtomicUsize,
    /// The thread that waits for them.
    owner: Thread,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The right to wait for a scoped thread's end and to take its result.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    scope: PhantomData<&'scope ()>,
}

/// Calls `f` with a scope. Threads that are spawned in the scope may borrow values that
/// outlive this call. Returns the result of `f` after all these threads have finished.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        running: AtomicUsize::new(0),
        owner: current(),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = f(&scope);
    // Acquire: pairs with the Release of each thread that finishes, so that this thread sees
    // everything that they did.
    while scope.running.load(Ordering::Acquire) > 0 {
        park();
    }
    result
}

impl<'scope> Scope<'scope, '_> {
    /// Begins a thread that runs `f`.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the thread. [`Builder::spawn_scoped`] returns an error
    /// instead.
    #[expect(clippy::expect_used, reason = "std's signature has no error")]
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
    /// - `NoMemory` if there is no memory for the thread or its stack.
    /// - `InvalidInput` if the hart is not online.
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // Relaxed: the spawn below publishes it to the new thread. The owner waits only after
        // `f` has returned, and a spawning thread of the scope is counted itself.
        scope.running.fetch_add(1, Ordering::Relaxed);
        let last = move || {
            let owner = scope.owner.clone();
            // Release: pairs with the Acquire in `scope`. Once the count is 0, the scope may
            // be freed, so it is not used after this.
            if scope.running.fetch_sub(1, Ordering::Release) == 1 {
                owner.unpark();
            }
        };
        // SAFETY: `scope` returns only after `last` has counted the thread down, so the scope
        // and everything that `f` borrows live until then. After that, only the owner of the
        // handle uses the result, and the handle cannot outlive what the result borrows.
        let handle = unsafe { self.spawn_borrowing(f, last) };
        if handle.is_err() {
            // Relaxed: no thread was begun, so there are no effects to publish.
            scope.running.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(ScopedJoinHandle {
            handle: handle?,
            scope: PhantomData,
        })
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Returns a handle to the thread.
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Waits until the thread has ended and its stack has been freed. Returns its result.
    ///
    /// # Errors
    ///
    /// `BadState` if the thread ended without a result, by `axtask::exit`.
    pub fn join(self) -> io::Result<T> {
        self.handle.join()
    }

    /// Returns whether the thread has ended and its stack has been freed.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}
