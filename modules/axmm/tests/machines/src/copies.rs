//! Copies that fault.

use std::cell::RefCell;
use std::ops::Range;

thread_local! {
    static FAULTS: RefCell<Range<usize>> = const { RefCell::new(0..0) };
}

/// Lets copies of this thread fault at these addresses, as long as `f` runs. Other accesses
/// do not fault there, as if their faults were resolved.
pub fn faulting<R>(at: Range<usize>, f: impl FnOnce() -> R) -> R {
    FAULTS.set(at);
    let result = f();
    FAULTS.set(0..0);
    result
}

/// How many of `len` bytes from `start` on come before the first that faults.
pub fn until_fault(start: usize, len: usize) -> usize {
    FAULTS.with_borrow(
        |fault| match fault.start < start + len && start < fault.end {
            true => fault.start.saturating_sub(start),
            false => len,
        },
    )
}
