//! What tests of mappings share: memory by its address, and that all of it comes back.

use alloc::format;
use alloc::string::String;
use core::ptr;

use axstd::memory::{AxError, UsageKind, usage};

use crate::report::{Outcome, check};

/// Runs a test and compares what it left taken with what was taken before.
pub fn giving_all_back(test: impl FnOnce() -> Outcome) -> Outcome {
    let before = taken()?;
    let done = test()?;
    let after = taken()?;
    check(before == after, || {
        format!("(pages, tables, other) taken were {before:?} and are {after:?}")
    })?;
    Ok(done)
}

/// The frames that are taken, by what for.
fn taken() -> Result<[usize; 3], String> {
    use UsageKind::{Global, PageTable, VirtMem};
    let usage = usage();
    Ok([VirtMem, PageTable, Global].map(|kind| usage.of(kind)))
}

/// What an operation has answered, as a report's word.
pub fn say(error: AxError) -> String {
    format!("{error:?}")
}

/// The first word of what is mapped at `addr`.
pub fn word(addr: usize) -> *mut u64 {
    ptr::with_exposed_provenance_mut(addr)
}
