//! Little memory.

use alloc::format;
use alloc::vec::Vec;

use axstd::memory;
use axstd::thread::{Builder, JoinHandle};

use crate::report::{Outcome, Report, check};

/// Bytes of a stack.
const SIZE: usize = 28 << 10;

/// Their tests.
pub fn run(report: &mut Report) {
    report.test("memory: none is an error", none);
}

/// With no frame free, then one more at a time: a thread begins and ends well, or nothing
/// of it is left. Its stack is of a size that no other thread has: none is kept.
fn none() -> Outcome {
    const MOST: usize = 64;
    // What cannot be makes the kernel give back the stacks it keeps for the next threads.
    let refused = Builder::new().stack_size(usize::MAX / 2).spawn(|| {});
    check(refused.is_err(), || "a stack of half the addresses".into())?;
    let mut taken = Vec::with_capacity(memory::usage().total);
    while let Ok(frame) = memory::alloc_frame(memory::UsageKind::Global) {
        taken.push(frame);
    }
    let (mut refused, mut ran) = (0, 0);
    let outcome = (0..MOST).try_for_each(|_| {
        let before = memory::usage().free;
        let builder = Builder::new().stack_size(SIZE);
        match builder.spawn(|| 1).and_then(JoinHandle::join) {
            Ok(_) => ran += 1,
            Err(memory::AxError::NoMemory) => refused += 1,
            Err(error) => return Err(format!("{error:?}")),
        }
        let after = memory::usage().free;
        taken.pop();
        check(ran > 0 || before == after, || {
            format!("{before} frames free, then {after}")
        })
    });
    drop(taken);
    outcome?;
    check(refused > 0 && ran > 0, || {
        format!("{refused} refused, {ran} ran")
    })?;
    Ok(format!("{refused} refused, {ran} ran"))
}
