//! What the machine asks of whoever runs threads on its harts. Without the feature
//! `multitask` nobody does, and each of these is nothing.

mod no_preempt;

#[cfg(feature = "multitask")]
pub use imp::ThreadsIf;
pub(crate) use imp::*;
#[cfg(target_os = "none")]
pub(crate) use no_preempt::after_irq_or_later;
pub use no_preempt::{NoPreempt, may_switch};

#[cfg(feature = "multitask")]
mod imp {
    use core::ops::Range;

    use axlog::ax_print;

    /// Whoever runs threads.
    #[crate_interface::def_interface(gen_caller)]
    pub trait ThreadsIf {
        /// An interrupt has been handled on this hart, and interrupts are still out: the
        /// moment to go on with another thread. It returns when what was interrupted
        /// has its turn again. While a [`NoPreempt`](super::NoPreempt) exists on this hart
        /// the call is put off until the guard is dropped.
        fn after_irq();

        /// The guard zone below the stack of the thread that this hart runs; an empty
        /// range if that is the hart's own. Takes no lock.
        fn current_guard() -> Range<usize>;

        /// The number and the name of the thread that this hart runs. Takes no lock.
        fn current_name() -> Option<(u64, &'static str)>;
    }

    /// Whether `addr` is in the guard zone below the running thread's stack.
    pub(crate) fn in_guard(addr: usize) -> bool {
        current_guard().contains(&addr)
    }

    /// Says on the console which thread this hart runs.
    pub(crate) fn print_current() {
        if let Some((id, name)) = current_name() {
            ax_print!(", thread {id} \"{name}\"");
        }
    }
}

#[cfg(not(feature = "multitask"))]
mod imp {
    pub(crate) fn in_guard(_addr: usize) -> bool {
        false
    }

    pub(crate) fn print_current() {}
}
