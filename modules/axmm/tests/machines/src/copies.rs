//! Copies that fault at chosen addresses.

use std::cell::RefCell;
use std::ops::Range;

use crate::KIB4;

/// Parts of a buffer of three pages, in bytes, where a test lets copies fault.
pub const PARTS_OF_A_BUFFER: [Range<usize>; 5] = [
    0..1,
    0..3 * KIB4,
    77..1234,
    KIB4 - 100..KIB4,
    3 * KIB4 - 1..3 * KIB4,
];

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
