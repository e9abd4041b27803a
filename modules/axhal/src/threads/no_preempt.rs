//! A guard that keeps the hart for the running thread while interrupts are still taken.
//!
//! Each hart counts its guards. While the count is not 0, an interrupt's handler runs,
//! but what usually follows it, `ThreadsIf::after_irq`, is deferred. The drop of the last
//! guard makes up for it.
//!
//! ```text
//!   interrupt ─► handler ─► guards == 0 ── yes ─► after_irq: another thread may run
//!                                │ no
//!                                ▼
//!                           deferred = true
//!                                │
//!   last guard dropped ◄─────────┘
//!     interrupts on:   after_irq, at once
//!     interrupts off:  the timer is set to ring now, so that an interrupt does it as soon
//!                      as interrupts are on
//! ```
//!
//! What is deferred may include waking sleepers and setting the timer. Both concern only
//! threads of this hart, which cannot run before the guard is dropped.

#[cfg(all(feature = "multitask", target_os = "none"))]
pub use counted::*;
#[cfg(not(all(feature = "multitask", target_os = "none")))]
pub use uncounted::*;

#[cfg(all(feature = "multitask", target_os = "none"))]
mod counted {
    use core::sync::atomic::Ordering::{Relaxed, SeqCst};
    use core::sync::atomic::{AtomicBool, AtomicU32, compiler_fence};

    use super::super::interface::after_irq;
    use crate::arch::{IrqsOff, irqs_enabled};
    use crate::time::{monotonic_time_nanos, set_oneshot_timer};

    /// One hart's guards. Only that hart uses it: the running thread, and interrupts
    /// between any two of its instructions. So no access needs more than `Relaxed`.
    ///
    /// An interrupt may come in the middle of a change of `guards`. It leaves the count as
    /// it was, because all other code drops as many guards as it creates: a handler
    /// before it returns, another thread before it is switched away from.
    #[derive(Debug)]
    struct HartGuards {
        guards: AtomicU32,
        /// Whether a call of `after_irq` was left out. Set while `guards` is not 0.
        deferred: AtomicBool,
    }

    #[percpu::def_percpu]
    static GUARDS: HartGuards = HartGuards {
        guards: AtomicU32::new(0),
        deferred: AtomicBool::new(false),
    };

    /// Returns the guards of the hart that runs the calling thread.
    #[inline(always)]
    fn of_this_hart() -> &'static HartGuards {
        // SAFETY: a thread never changes its hart, so the reference stays right
        // whatever interrupts it. All fields are atomic, and per-hart data is never
        // freed.
        unsafe { GUARDS.current_ref_raw() }
    }

    /// Keeps other threads from taking this hart while it exists. Interrupts still come,
    /// and their handlers run.
    ///
    /// Guards nest. A thread that has one must not wait, yield or end itself, which debug
    /// builds check. It is not `Send`: it counts on the hart that created it.
    ///
    /// If another thread's turn came meanwhile, the drop of the last guard lets it run
    /// before it returns. With interrupts off, that thread runs once they are on.
    #[derive(Debug)]
    #[must_use = "a guard that is dropped at once does not keep the hart"]
    pub struct NoPreempt {
        /// The hart's guards, by a raw pointer: it keeps the guard from being `Send`.
        hart: *const HartGuards,
    }

    impl NoPreempt {
        /// Keeps this hart for the calling thread from now on.
        #[inline(always)]
        pub fn new() -> Self {
            let hart = of_this_hart();
            hart.guards.store(hart.guards.load(Relaxed) + 1, Relaxed);
            // The compiler must not move what the guard protects before the store.
            compiler_fence(SeqCst);
            Self { hart }
        }
    }

    impl Default for NoPreempt {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Drop for NoPreempt {
        #[inline(always)]
        fn drop(&mut self) {
            // SAFETY: it comes from `of_this_hart`, where a hart's data is never freed.
            let hart = unsafe { &*self.hart };
            // The compiler must not move what the guard protects behind the store.
            compiler_fence(SeqCst);
            hart.guards.store(hart.guards.load(Relaxed) - 1, Relaxed);
            // An interrupt before the store has set `deferred`. One after the store defers
            // no call. The compiler must not read `deferred` before the store.
            compiler_fence(SeqCst);
            if hart.deferred.load(Relaxed) {
                catch_up(hart);
            }
        }
    }

    /// Makes the deferred call, unless an outer guard still exists.
    #[cold]
    #[inline(never)]
    fn catch_up(hart: &HartGuards) {
        if hart.guards.load(Relaxed) != 0 {
            return;
        }
        if irqs_enabled() {
            let _no_interrupts = IrqsOff::new();
            // An interrupt may have done it since.
            if hart.deferred.load(Relaxed) {
                after_irq_or_defer();
            }
        } else {
            // The timer's interrupt will make the call. Its deadline is now.
            set_oneshot_timer(monotonic_time_nanos());
        }
    }

    /// Lets another thread take the hart after an interrupt, or defers that while a
    /// guard exists. Called with interrupts off.
    pub(crate) fn after_irq_or_defer() {
        let hart = of_this_hart();
        let allowed = hart.guards.load(Relaxed) == 0;
        hart.deferred.store(!allowed, Relaxed);
        // The hart that ends the machine has the console, and runs no other thread.
        if allowed && !axlog::has_console() {
            after_irq();
        }
    }

    /// Returns whether the calling thread may leave its hart to another: whether it has no
    /// [`NoPreempt`].
    pub fn may_switch() -> bool {
        of_this_hart().guards.load(Relaxed) == 0
    }
}

#[cfg(not(all(feature = "multitask", target_os = "none")))]
mod uncounted {
    use core::marker::PhantomData;

    /// Keeps other threads from taking this hart while it exists. Without threads, or in a
    /// process, no other thread ever takes the hart, so the guard has no size and does
    /// nothing.
    #[derive(Debug)]
    #[must_use = "a guard that is dropped at once does not keep the hart"]
    pub struct NoPreempt(PhantomData<*const ()>);

    impl NoPreempt {
        /// Returns a guard that does nothing.
        #[inline(always)]
        pub fn new() -> Self {
            Self(PhantomData)
        }
    }

    impl Default for NoPreempt {
        fn default() -> Self {
            Self::new()
        }
    }

    /// Callers end a guard with `drop`. An empty `Drop` keeps the compiler from warning
    /// about that.
    impl Drop for NoPreempt {
        #[inline(always)]
        fn drop(&mut self) {}
    }

    /// Does nothing: an interrupt always returns to the interrupted code.
    #[cfg(target_os = "none")]
    pub(crate) fn after_irq_or_defer() {}

    /// Returns whether the calling thread may leave its hart to another. It is always true
    /// here, because guards are not counted.
    pub fn may_switch() -> bool {
        true
    }
}
