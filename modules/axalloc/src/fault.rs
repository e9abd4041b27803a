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
pub use armed::{Armed, FailingHeap, fail_nth};
#[cfg(feature = "fault-injection")]
pub(crate) use countdown::{Countdown, fails};

/// Without the switch no allocation is to fail.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn fails(_: &impl crate::hart::Harts) -> bool {
    false
}

#[cfg(feature = "fault-injection")]
mod countdown {
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// How many allocations go until one fails; 0 for no limit.
    pub struct Countdown(AtomicUsize);

    impl Countdown {
        pub const fn new() -> Self {
            Self(AtomicUsize::new(0))
        }

        /// Lets the `n`th allocation fail; 0 for none. Answers which it would
        /// have been before.
        pub fn set(&self, n: usize) -> usize {
            self.0.swap(n, Ordering::Relaxed)
        }
    }

    /// Whether the allocation that asks is to fail.
    pub fn fails(harts: &impl crate::hart::Harts) -> bool {
        harts.with_this(|stock| {
            let left = stock.fault.set(0);
            stock.fault.set(left.saturating_sub(1));
            left == 1
        })
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
        set(n);
        Armed {
            n,
            not_send: PhantomData,
        }
    }

    fn set(n: usize) -> usize {
        ThisMachine.with_this(|stock| stock.fault.set(n))
    }

    /// Ends the injection when it goes.
    #[derive(Debug)]
    pub struct Armed {
        n: usize,
        /// The count is this hart's.
        not_send: PhantomData<*mut ()>,
    }

    impl Armed {
        /// Ends the injection, and says whether an allocation has failed by it.
        pub fn has_fired(self) -> bool {
            set(0) == 0 && self.n > 0
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            set(0);
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
