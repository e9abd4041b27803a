//! A guard that keeps the hart for the running thread while interrupts come in.
//!
//! Each hart counts its guards. While the count is not 0, an interrupt's handler runs,
//! but what usually follows it, `ThreadsIf::after_irq`, is put off. The drop of the last
//! guard makes up for it.
//!
//! ```text
//!   interrupt ─► handler ─► guards == 0 ── yes ─► after_irq: another thread may run
//!                                │ no
//!                                ▼
//!                           put_off = true
//!                                │
//!   last guard dropped ◄─────────┘
//!     interrupts on:   after_irq, at once
//!     interrupts off:  the timer is set to ring now, so that an interrupt does it as soon
//!                      as one is let in
//! ```
//!
//! What is put off may include waking sleepers and setting the timer. Both concern only
//! threads of this hart, and none of those can run before the guard is dropped.

#[cfg(all(feature = "multitask", target_os = "none"))]
pub use counted::*;
#[cfg(not(all(feature = "multitask", target_os = "none")))]
pub use nothing::*;

#[cfg(all(feature = "multitask", target_os = "none"))]
mod counted {
    use core::sync::atomic::Ordering::{Relaxed, SeqCst};
    use core::sync::atomic::{AtomicBool, AtomicU32, compiler_fence};

    use crate::arch::{IrqsOff, irqs_enabled};
    use crate::power::is_ending;
    use crate::threads::after_irq;
    use crate::time::{monotonic_time_nanos, set_oneshot_timer};

    /// One hart's guards. Only that hart uses it: the running thread, and interrupts
    /// between any two of its instructions. So no access needs more than `Relaxed`.
    ///
    /// An interrupt may come in the middle of a change of `guards`. It leaves the count as
    /// it was, because whoever runs meanwhile drops as many guards as it creates: a handler
    /// before it returns, another thread before it is switched away from.
    #[derive(Debug)]
    struct HartGuards {
        guards: AtomicU32,
        /// Whether `after_irq` was left out. Set while `guards` is not 0.
        put_off: AtomicBool,
    }

    #[percpu::def_percpu]
    static GUARDS: HartGuards = HartGuards {
        guards: AtomicU32::new(0),
        put_off: AtomicBool::new(false),
    };

    /// Returns the guards of the hart that runs the calling thread.
    #[inline(always)]
    fn of_this_hart() -> &'static HartGuards {
        // SAFETY: a thread never changes its hart, so that the reference stays right
        // whatever interrupts it. All fields are atomic, and a hart's own data is never
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
    /// before it returns. With interrupts off, that thread runs once they are let in.
    #[derive(Debug)]
    #[must_use = "dropped at once, it keeps nothing off"]
    pub struct NoPreempt {
        /// A raw pointer, which keeps the guard from being `Send`.
        hart: *const HartGuards,
    }

    impl NoPreempt {
        /// Keeps this hart for the calling thread from now on.
        #[inline(always)]
        pub fn new() -> Self {
            let hart = of_this_hart();
            hart.guards.store(hart.guards.load(Relaxed) + 1, Relaxed);
            // What the guard protects stays behind the store.
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
            // What the guard protects stays before the store.
            compiler_fence(SeqCst);
            hart.guards.store(hart.guards.load(Relaxed) - 1, Relaxed);
            // An interrupt before the store has set `put_off`; one after it puts nothing
            // off. The compiler must not read `put_off` before the store.
            compiler_fence(SeqCst);
            if hart.put_off.load(Relaxed) {
                catch_up(hart);
            }
        }
    }

    /// Does what was put off, unless an outer guard still exists.
    #[cold]
    #[inline(never)]
    fn catch_up(hart: &HartGuards) {
        if hart.guards.load(Relaxed) != 0 {
            return;
        }
        if irqs_enabled() {
            let _no_interrupts = IrqsOff::new();
            // An interrupt may have done it since.
            if hart.put_off.load(Relaxed) {
                after_irq_or_later();
            }
        } else {
            // The timer may have rung and been left unset.
            set_oneshot_timer(monotonic_time_nanos());
        }
    }

    /// Lets another thread take the hart after an interrupt, or puts that off while a
    /// guard exists. Called with interrupts off.
    pub(crate) fn after_irq_or_later() {
        let hart = of_this_hart();
        let allowed = hart.guards.load(Relaxed) == 0;
        hart.put_off.store(!allowed, Relaxed);
        if allowed && !is_ending() {
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
mod nothing {
    use core::marker::PhantomData;

    /// Keeps other threads from taking this hart while it exists. Without threads, or in a
    /// process, nothing ever takes the hart, so the guard has no size and does nothing.
    #[derive(Debug)]
    #[must_use = "dropped at once, it keeps nothing off"]
    pub struct NoPreempt(PhantomData<*const ()>);

    impl NoPreempt {
        /// Does nothing.
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

    /// So that `drop` of a guard is no warning without threads.
    impl Drop for NoPreempt {
        #[inline(always)]
        fn drop(&mut self) {}
    }

    /// Does nothing: an interrupt goes back to what it interrupted.
    #[cfg(target_os = "none")]
    pub(crate) fn after_irq_or_later() {}

    /// Returns whether the calling thread may leave its hart to another. Always true here:
    /// guards are not counted.
    pub fn may_switch() -> bool {
        true
    }
}
