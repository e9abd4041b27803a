//! Copies that fault at chosen addresses.

use std::cell::RefCell;
use std::ops::Range;

thread_local! {
    static FAULTING: RefCell<Range<usize>> = const { RefCell::new(0..0) };
}

/// Calls `f`. While it runs, [`Machine::copy`](axmm::Machine::copy) faults at these addresses
/// on this thread. Other accesses do not fault, as if a handler had resolved their faults.
pub fn faulting<R>(at: Range<usize>, f: impl FnOnce() -> R) -> R {
    FAULTING.set(at);
    let result = f();
    FAULTING.set(0..0);
    result
}

/// Returns how many of `len` bytes from `start` come before the first that faults.
pub fn until_fault(start: usize, len: usize) -> usize {
    FAULTING.with_borrow(|at| match at.start < start + len && start < at.end {
        true => at.start.saturating_sub(start),
        false => len,
    })
}
