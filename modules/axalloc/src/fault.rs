//! A switch for tests: the n-th allocation from now on fails.
//!
//! A test of an operation that allocates lets its first allocation fail, then
//! its second, and so on until the operation succeeds, and looks each time
//! whether everything is as before:
//!
//! ```
//! # fn operation() -> Result<(), ()> { Ok(()) }
//! for n in 1.. {
//!     let armed = axalloc::fault::fail_nth(n);
//!     let result = operation();
//!     if !armed.has_fired() {
//!         assert!(result.is_ok());
//!         break;
//!     }
//!     assert!(result.is_err());
//! }
//! ```
//!
//! It counts the allocations of frames and of the heap that the hart (the thread,
//! on a host) makes which set it, and no others. Without the feature
//! `fault-injection` none of this is there.

#[cfg(feature = "fault-injection")]
pub use armed::{Armed, FailingHeap, fail_from, fail_nth, paused};
#[cfg(feature = "fault-injection")]
pub(crate) use countdown::{Countdown, fails};

/// Without the switch no allocation is to fail.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn fails(_: &impl crate::hart::Harts) -> bool {
    false
}

#[cfg(feature = "fault-injection")]
mod countdown {
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Which allocation is to fail.
    pub struct Countdown {
        /// How many go until one fails; 0 for none.
        left: AtomicUsize,
        /// Whether all that follow it fail too.
        for_good: AtomicBool,
        fired: AtomicBool,
    }

    impl Countdown {
        pub const fn new() -> Self {
            Self {
                left: AtomicUsize::new(0),
                for_good: AtomicBool::new(false),
                fired: AtomicBool::new(false),
            }
        }

        /// Lets the `n`th allocation fail, 0 for none, and all that follow it if
        /// that is `for_good`.
        pub fn set(&self, n: usize, for_good: bool) {
            self.left.store(n, Ordering::Relaxed);
            self.for_good.store(for_good, Ordering::Relaxed);
            self.fired.store(false, Ordering::Relaxed);
        }

        /// Lets none fail from now on. Answers which would have.
        pub fn stop(&self) -> usize {
            self.left.swap(0, Ordering::Relaxed)
        }

        /// Goes on where it [stopped](Self::stop).
        pub fn resume(&self, left: usize) {
            self.left.store(left, Ordering::Relaxed);
        }

        /// Whether an allocation has failed.
        pub fn has_fired(&self) -> bool {
            self.fired.load(Ordering::Relaxed)
        }

        fn count(&self) -> bool {
            let left = self.left.load(Ordering::Relaxed);
            let fails = left == 1;
            if !(fails && self.for_good.load(Ordering::Relaxed)) {
                self.left.store(left.saturating_sub(1), Ordering::Relaxed);
            }
            if fails {
                self.fired.store(true, Ordering::Relaxed);
            }
            fails
        }
    }

    /// Whether the allocation that asks is to fail.
    pub fn fails(harts: &impl crate::hart::Harts) -> bool {
        harts.with_this(|stock| stock.fault.count())
    }
}

#[cfg(feature = "fault-injection")]
mod armed {
    use core::alloc::{GlobalAlloc, Layout};
    use core::marker::PhantomData;

    use super::fails;
    use crate::hart::{Harts, ThisMachine};

    /// Lets this hart's `n`th allocation from now on fail, 1 being the next and 0
    /// none, if it comes while the answer lives.
    pub fn fail_nth(n: usize) -> Armed {
        Armed::new(n, false)
    }

    /// As [`fail_nth`], and lets all that follow it fail too, so that an operation
    /// that makes do with less runs out of memory all the same.
    pub fn fail_from(n: usize) -> Armed {
        Armed::new(n, true)
    }

    /// Calls `f`, whose allocations neither count nor fail: what a test does in the
    /// middle of an operation.
    pub fn paused<R>(f: impl FnOnce() -> R) -> R {
        let left = ThisMachine.with_this(|stock| stock.fault.stop());
        let result = f();
        ThisMachine.with_this(|stock| stock.fault.resume(left));
        result
    }

    /// Ends the injection when it goes.
    #[derive(Debug)]
    pub struct Armed {
        /// The count is this hart's.
        not_send: PhantomData<*mut ()>,
    }

    impl Armed {
        fn new(n: usize, for_good: bool) -> Self {
            ThisMachine.with_this(|stock| stock.fault.set(n, for_good));
            Self {
                not_send: PhantomData,
            }
        }

        /// Ends the injection, and says whether an allocation has failed by it.
        pub fn has_fired(self) -> bool {
            ThisMachine.with_this(|stock| stock.fault.has_fired())
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            ThisMachine.with_this(|stock| {
                stock.fault.stop();
            });
        }
    }

    /// A host's heap whose allocations count and fail as the kernel heap's do:
    ///
    /// ```
    /// #[global_allocator]
    /// static HEAP: axalloc::fault::FailingHeap<std::alloc::System> =
    ///     axalloc::fault::FailingHeap(std::alloc::System);
    ///
    /// let _armed = axalloc::fault::fail_nth(1);
    /// assert!(Vec::<u8>::new().try_reserve(1).is_err());
    /// ```
    #[derive(Debug)]
    pub struct FailingHeap<A>(pub A);

    // SAFETY: null is an answer every allocation may give; all else is `A`'s.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for FailingHeap<A> {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            match fails(&ThisMachine) {
                true => core::ptr::null_mut(),
                // SAFETY: the caller's promise is `A`'s.
                false => unsafe { self.0.alloc(layout) },
            }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise is `A`'s.
            unsafe { self.0.dealloc(block, layout) }
        }
    }
}
