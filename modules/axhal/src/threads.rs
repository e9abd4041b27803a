//! What the machine needs to know of threads. Without the feature `multitask` there are no
//! threads, and each of these functions does nothing.

#[cfg(feature = "multitask")]
mod interface;
mod no_preempt;

#[cfg(feature = "multitask")]
pub use interface::ThreadsIf;
#[cfg(feature = "multitask")]
pub(crate) use interface::{in_guard, print_current};
#[cfg(target_os = "none")]
pub(crate) use no_preempt::after_irq_or_defer;
pub use no_preempt::{NoPreempt, may_switch};

#[cfg(not(feature = "multitask"))]
pub(crate) use without_threads::{in_guard, print_current};

#[cfg(not(feature = "multitask"))]
mod without_threads {
    pub fn in_guard(_addr: usize) -> bool {
        false
    }

    pub fn print_current() {}
}
