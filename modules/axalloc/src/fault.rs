//! Fault injection for tests: the n-th allocation from now on fails.
//!
//! A test of an operation that allocates makes its first allocation fail, then its second, and
//! so on until the operation succeeds. Each time it checks that everything is as before:
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
//! Only allocations of frames and heap blocks by the hart that called `fail_nth` count. (On a
//! host a hart is a thread.) Without the feature `fault-injection` this module is empty.

#[cfg(feature = "fault-injection")]
pub use armed::{Armed, FailingHeap, fail_from, fail_nth, paused};

use crate::harts::Harts;

/// Counts the next allocation of this hart, and returns whether it must fail.
#[cfg(feature = "fault-injection")]
pub(crate) fn next_fails(harts: &impl Harts) -> bool {
    harts.with_cache(|cache| cache.countdown.count_and_check())
}

/// Returns `false`: without fault injection every allocation may succeed.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn next_fails(_: &impl Harts) -> bool {
    false
}

#[cfg(feature = "fault-injection")]
mod armed {
    use core::alloc::{GlobalAlloc, Layout};
    use core::marker::PhantomData;

    use super::next_fails;
    use crate::harts::Harts;
    use crate::machine_harts::MachineHarts;

    /// Makes this hart's `n`th allocation from now on fail, until the returned value is
    /// dropped. 1 is the next allocation; with 0, no allocation fails.
    pub fn fail_nth(n: usize) -> Armed {
        Armed::new(n, false)
    }

    /// Makes this hart's `n`th allocation from now on fail, and all that follow it, until the
    /// returned value is dropped. So an operation that falls back to less memory fails too.
    pub fn fail_from(n: usize) -> Armed {
        Armed::new(n, true)
    }

    /// Calls `f`, whose allocations neither count nor fail. It is for what a test does in the
    /// middle of an operation.
    pub fn paused<R>(f: impl FnOnce() -> R) -> R {
        let left = MachineHarts.with_cache(|cache| cache.countdown.stop());
        let result = f();
        MachineHarts.with_cache(|cache| cache.countdown.resume(left));
        result
    }

    /// Fault injection that is in effect. It ends when this is dropped.
    #[derive(Debug)]
    pub struct Armed {
        /// The countdown belongs to this hart, so this value must stay on it.
        not_send: PhantomData<*mut ()>,
    }

    impl Armed {
        fn new(n: usize, for_good: bool) -> Self {
            MachineHarts.with_cache(|cache| cache.countdown.start(n, for_good));
            Self {
                not_send: PhantomData,
            }
        }

        /// Ends the injection, and returns whether it made an allocation fail.
        pub fn has_fired(self) -> bool {
            MachineHarts.with_cache(|cache| cache.countdown.has_fired())
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            MachineHarts.with_cache(|cache| {
                cache.countdown.stop();
            });
        }
    }

    /// A host's heap whose allocations count and fail like those of the kernel heap:
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

    // SAFETY: `alloc` returns null, which is always allowed, or a block of `A`. `dealloc` frees
    // it to `A`.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for FailingHeap<A> {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            match next_fails(&MachineHarts) {
                true => core::ptr::null_mut(),
                // SAFETY: the caller promises that the size is not 0.
                false => unsafe { self.0.alloc(layout) },
            }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller promises that `alloc` gave the block for this layout, so `A`
            // did.
            unsafe { self.0.dealloc(block, layout) }
        }
    }
}
