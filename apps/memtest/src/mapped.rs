//! What tests of mappings share: memory by its address, and that all of it comes back.

use alloc::format;
use alloc::string::String;
use core::ptr;

use axstd::memory::{AxError, Usage, UsageKind, usage};

use crate::report::{Outcome, check};

/// Runs a test and compares what it left taken with what was taken before.
pub fn giving_all_back(test: impl FnOnce() -> Outcome) -> Outcome {
    let taken = |usage: Usage| {
        use UsageKind::{Global, PageTable, VirtMem};
        [VirtMem, PageTable, Global].map(|kind| usage.of(kind))
    };
    let before = taken(usage());
    let done = test()?;
    let after = taken(usage());
    check(before == after, || {
        format!("(pages, tables, other) taken were {before:?} and are {after:?}")
    })?;
    Ok(done)
}

/// What an operation has answered, as a report's word.
pub fn say(error: AxError) -> String {
    format!("{error:?}")
}

/// The first word of what is mapped at `addr`.
pub fn word(addr: usize) -> *mut u64 {
    ptr::with_exposed_provenance_mut(addr)
}
