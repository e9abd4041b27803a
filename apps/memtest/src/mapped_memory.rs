//! Memory that a test has mapped: access by address, and a check that its frames are freed.

use alloc::format;
use core::ptr;

use axstd::memory::{UsageKind, usage};

use crate::report::{Outcome, check};

/// Runs a test, and fails if it changes how many frames are in use.
pub fn without_leak(test: impl FnOnce() -> Outcome) -> Outcome {
    let before = frames_in_use();
    let done = test()?;
    let after = frames_in_use();
    check(before == after, || {
        format!("frames in use (pages, tables, other): {before:?} before, {after:?} after")
    })?;
    Ok(done)
}

/// The numbers of frames in use: mapped pages, page tables, and other frames without the heap's.
fn frames_in_use() -> [usize; 3] {
    use UsageKind::{Global, PageTable, VirtMem};
    let usage = usage();
    [VirtMem, PageTable, Global].map(|kind| usage.of(kind))
}

/// Returns a pointer to the word at `addr`.
pub fn word_at(addr: usize) -> *mut u64 {
    ptr::with_exposed_provenance_mut(addr)
}
