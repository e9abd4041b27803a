//! The functions that the thread scheduler provides to the machine.

use core::ops::Range;

use axlog::ax_print;

/// The thread scheduler.
#[crate_interface::def_interface(gen_caller)]
pub trait ThreadsIf {
    /// Lets another thread run, if it is its turn. It is called after an interrupt has been
    /// handled, with interrupts still off. It returns when the interrupted thread runs again.
    ///
    /// While this hart has a [`NoPreempt`](super::NoPreempt) the call is deferred until the
    /// last guard is dropped.
    fn after_irq();

    /// Returns the guard zone below the stack of the thread that this hart runs. The range
    /// is empty if the thread runs on the hart's own stack. Takes no lock.
    fn current_guard() -> Range<usize>;

    /// Returns the number and the name of the thread that this hart runs, or `None` if it
    /// runs no thread. Takes no lock.
    fn current_name() -> Option<(u64, &'static str)>;
}

/// Returns whether `addr` is in the guard zone below the running thread's stack.
pub fn in_guard(addr: usize) -> bool {
    current_guard().contains(&addr)
}

/// Prints which thread this hart runs.
pub fn print_current() {
    if let Some((id, name)) = current_name() {
        ax_print!(", thread {id} \"{name}\"");
    }
}
