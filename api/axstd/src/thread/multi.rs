//! Threads as in `std`. A panic in any of them is the machine's end.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::num::{NonZeroU64, NonZeroUsize};
use core::time::Duration;

use axfeat::axhal::hart;
use axfeat::axtask::{self, MOST_ON_STACK, Shared, Spawn, try_box};

use super::deadline;
use crate::io;
use crate::sync::Mutex;

/// What tells a thread from all others there are or have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(NonZeroU64);

impl ThreadId {
    /// It as a number.
    pub fn as_u64(&self) -> NonZeroU64 {
        self.0
    }
}

/// A handle to a thread.
#[derive(Clone)]
pub struct Thread(Shared<axtask::Thread>);

impl Thread {
    /// What tells it from all others.
    pub fn id(&self) -> ThreadId {
        ThreadId(NonZeroU64::new(self.0.id()).unwrap_or(NonZeroU64::MIN))
    }

    /// The name it was given, if any.
    pub fn name(&self) -> Option<&str> {
        Some(self.0.name()).filter(|name| !name.is_empty())
    }

    /// The number of the hart that it runs on.
    pub fn hart(&self) -> usize {
        self.0.hart()
    }

    /// The lowest address of its stack; at least 1 MiB below it is not mapped.
    pub fn stack_bottom(&self) -> usize {
        self.0.stack_bottom()
    }

    /// Lets its next [`park`], or the one it is in, return.
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

/// What a thread-to-be is like.
#[derive(Debug, Default)]
pub struct Builder(Spawn);

impl Builder {
    /// A thread without a name, with a stack of 256 KiB, on the hart that has the fewest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives it a name, for reports.
    pub fn name(mut self, name: String) -> Self {
        self.0.name = Cow::Owned(name);
        self
    }

    /// Gives it a stack of at least `size` bytes, and no less than 16 KiB. All of it is
    /// memory from the start.
    pub fn stack_size(mut self, size: usize) -> Self {
        self.0.stack_size = size;
        self
    }

    /// Gives it to the hart of this number, for good.
    pub fn hart(mut self, number: usize) -> Self {
        self.0.hart = Some(number);
        self
    }

    /// Begins a thread that runs `f`.
    ///
    /// # Errors
    ///
    /// `NoMemory`; `InvalidInput` for a hart that is not up.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: what it has borrowed stays for ever.
        unsafe { self.spawn_borrowing(f, || {}) }
    }

    /// As [`spawn`](Self::spawn), of an `f` that may borrow. `last` is called when it has
    /// run and its result is in the handle, or gone with it.
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow stays until `last` is called.
    pub(super) unsafe fn spawn_borrowing<F, T>(
        self,
        f: F,
        last: impl FnOnce() + Send,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        if size_of::<F>() <= MOST_ON_STACK {
            // SAFETY: the caller's promise.
            return unsafe { self.spawn_small(f, last) };
        }
        // Called through a pointer, what `f` holds is not moved to the thread's stack.
        let f: Box<dyn FnOnce() -> T + Send + '_> = try_box(f)?;
        // SAFETY: the caller's promise.
        unsafe { self.spawn_small(f, last) }
    }

    /// As [`spawn_borrowing`](Self::spawn_borrowing), of an `f` that fits on any stack.
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow stays until `last` is called.
    unsafe fn spawn_small<F, T>(self, f: F, last: impl FnOnce() + Send) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let mine = Shared::try_new(Mutex::new(None))?;
        let its = mine.clone();
        let work = move || {
            let result = f();
            *its.lock() = Some(result);
            drop(its);
            last();
        };
        // SAFETY: the caller's promise.
        let thread = unsafe { axtask::spawn_borrowing(self.0, work)? };
        Ok(JoinHandle {
            thread: Thread(thread),
            result: mine,
        })
    }
}

/// The right to wait for a thread's end, and to its result. Without it the thread goes on
/// alone.
#[derive(Debug)]
pub struct JoinHandle<T> {
    thread: Thread,
    result: Shared<Mutex<Option<T>>>,
}

impl<T> JoinHandle<T> {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits until the thread has ended; what it has had is free then.
    ///
    /// # Errors
    ///
    /// `BadState` if it has ended without a result.
    pub fn join(self) -> io::Result<T> {
        self.thread.0.join();
        let result = self.result.lock().take();
        result.ok_or(io::Error::BadState)
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.0.has_ended()
    }
}

/// Begins a thread that runs `f`.
///
/// # Panics
///
/// Without memory for it; [`Builder::spawn`] answers that as an error.
#[expect(clippy::expect_used, reason = "as std's, it has no other answer")]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("failed to spawn thread")
}

/// The thread that calls this.
pub fn current() -> Thread {
    Thread(axtask::current())
}

/// Lets the other threads of this hart that are ready run first.
pub fn yield_now() {
    axtask::yield_now();
}

/// Waits until somebody [unparks](Thread::unpark) the calling thread, or has since it
/// last parked.
pub fn park() {
    axtask::park();
}

/// As [`park`], but for at most about `duration`.
pub fn park_timeout(duration: Duration) {
    axtask::park_until(Some(deadline(duration)));
}

/// How many threads can run at the same time: as many as harts are up.
///
/// # Errors
///
/// None.
pub fn available_parallelism() -> io::Result<NonZeroUsize> {
    let harts = hart::online().count_ones() as usize;
    Ok(NonZeroUsize::new(harts).unwrap_or(NonZeroUsize::MIN))
}
