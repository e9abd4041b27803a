//! Threads as in `std`. A panic in any thread ends the machine.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::num::{NonZeroU64, NonZeroUsize};
use core::time::Duration;

use axfeat::axhal::hart;
use axfeat::axtask::{self, Shared, Spawn, fits_on_stack, try_box};

use super::deadline;
use crate::io;
use crate::sync::Mutex;

/// The number of a thread. No two threads have the same one, even after one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(NonZeroU64);

impl ThreadId {
    /// Returns the id as a number.
    pub fn as_u64(&self) -> NonZeroU64 {
        self.0
    }
}

/// A handle to a thread.
#[derive(Clone)]
pub struct Thread(Shared<axtask::Thread>);

impl Thread {
    /// Returns the thread's id.
    pub fn id(&self) -> ThreadId {
        ThreadId(NonZeroU64::new(self.0.id()).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the name that the thread was given, or `None` if it has no name.
    pub fn name(&self) -> Option<&str> {
        Some(self.0.name()).filter(|name| !name.is_empty())
    }

    /// Returns the number of the hart that the thread runs on.
    pub fn hart(&self) -> usize {
        self.0.hart()
    }

    /// Returns the lowest address of the thread's stack. At least 1 MiB below it is unmapped.
    pub fn stack_bottom(&self) -> usize {
        self.0.stack_bottom()
    }

    /// Makes the thread's current [`park`] return, or else its next one.
    pub fn unpark(&self) {
        self.0.unpark();
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("hart", &self.hart())
            .finish()
    }
}

/// The properties of a thread that is to be spawned.
#[derive(Debug, Default)]
pub struct Builder(Spawn);

impl Builder {
    /// Makes a builder for a thread without a name. Its stack has 256 KiB. Its hart is the one
    /// that has the fewest threads when the thread is spawned.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the thread a name, which appears in reports.
    pub fn name(mut self, name: String) -> Self {
        self.0.name = Cow::Owned(name);
        self
    }

    /// Gives the thread a stack of at least `size` bytes. The size is rounded up to pages and
    /// to at least 16 KiB. All pages have frames from the start.
    pub fn stack_size(mut self, size: usize) -> Self {
        self.0.stack_size = size;
        self
    }

    /// Makes the thread run on hart `number` for its whole life.
    pub fn hart(mut self, number: usize) -> Self {
        self.0.hart = Some(number);
        self
    }

    /// Begins a thread that runs `f`.
    ///
    /// # Errors
    ///
    /// - `NoMemory` if there is no memory for the thread or its stack.
    /// - `InvalidInput` if the hart is not online.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `F` and `T` are `'static`, so everything that they borrow lives for ever.
        unsafe { self.spawn_borrowing(f, || {}) }
    }

    /// Begins a thread that runs `f`, which may borrow. `last` is called after `f` has
    /// returned and its result has been stored in the handle. If the handle has been dropped
    /// by then, the result is dropped before `last` is called.
    ///
    /// # Errors
    ///
    /// - `NoMemory` if there is no memory for the thread or its stack.
    /// - `InvalidInput` if the hart is not online.
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow must live until `last` is called.
    pub(super) unsafe fn spawn_borrowing<F, T>(
        self,
        f: F,
        last: impl FnOnce() + Send,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        if fits_on_stack::<F>() {
            // SAFETY: the caller promises that what is borrowed lives until `last` is called.
            return unsafe { self.spawn_small(f, last) };
        }
        // `f` stays in the box: a call through a `dyn` pointer does not move it to the thread's
        // stack, which may be too small for it.
        let f: Box<dyn FnOnce() -> T + Send + '_> = try_box(f)?;
        // SAFETY: the caller promises that what is borrowed lives until `last` is called.
        unsafe { self.spawn_small(f, last) }
    }

    /// Begins a thread that runs `f` and then `last`, for an `f` that fits on any stack. See
    /// [`spawn_borrowing`](Self::spawn_borrowing).
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow must live until `last` is called.
    unsafe fn spawn_small<F, T>(self, f: F, last: impl FnOnce() + Send) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let result = Shared::try_new(Mutex::new(None))?;
        let threads_result = result.clone();
        let work = move || {
            let value = f();
            *threads_result.lock() = Some(value);
            // If the handle is gone, this drops the value, before what it borrows ends.
            drop(threads_result);
            last();
        };
        // SAFETY: the caller promises that what is borrowed lives until `last` is called,
        // which is the end of `work`.
        let thread = unsafe { axtask::spawn_borrowing(self.0, work)? };
        Ok(JoinHandle {
            thread: Thread(thread),
            result,
        })
    }
}

/// The right to wait for a thread's end and to take its result. If it is dropped, the thread
/// goes on.
#[derive(Debug)]
pub struct JoinHandle<T> {
    thread: Thread,
    result: Shared<Mutex<Option<T>>>,
}

impl<T> JoinHandle<T> {
    /// Returns a handle to the thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits until the thread has ended and its stack has been freed. Returns its result.
    ///
    /// # Errors
    ///
    /// `BadState` if the thread ended without a result, by `axtask::exit`.
    pub fn join(self) -> io::Result<T> {
        self.thread.0.join();
        let result = self.result.lock().take();
        result.ok_or(io::Error::BadState)
    }

    /// Returns whether the thread has ended and its stack has been freed.
    pub fn is_finished(&self) -> bool {
        self.thread.0.has_ended()
    }
}

/// Begins a thread that runs `f`.
///
/// # Panics
///
/// Panics if there is no memory for the thread. [`Builder::spawn`] returns an error instead.
#[expect(clippy::expect_used, reason = "std's signature has no error")]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("failed to spawn thread")
}

/// Returns a handle to the calling thread.
pub fn current() -> Thread {
    Thread(axtask::current())
}

/// Lets the other ready threads of this hart run first.
pub fn yield_now() {
    axtask::yield_now();
}

/// Waits until another thread [unparks](Thread::unpark) the calling one. Returns at once if
/// that has happened since its last `park`.
pub fn park() {
    axtask::park();
}

/// Parks the calling thread like [`park`], for at most about `duration`.
pub fn park_timeout(duration: Duration) {
    axtask::park_until(Some(deadline(duration)));
}

/// Returns how many threads can run at the same time: the number of harts that are online.
///
/// # Errors
///
/// It never fails. It returns a `Result` like `std`'s.
pub fn available_parallelism() -> io::Result<NonZeroUsize> {
    let harts = hart::online().count_ones() as usize;
    Ok(NonZeroUsize::new(harts).unwrap_or(NonZeroUsize::MIN))
}
